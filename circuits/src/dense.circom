pragma circom 2.1.6;

// Dense layers, out = w x + b. Nothing is range-checked here: the caller's bounds on w, b and x keep the
// sums far below the field's order.

// All rows of a public table at once: x is constant, so every sum is linear in w and b and costs nothing.
template DenseConstant(rows, inputs, outputs, x) {
    signal input w[outputs][inputs];
    signal input b[outputs];
    signal output out[rows][outputs];
    for (var r = 0; r < rows; r++) {
        for (var j = 0; j < outputs; j++) {
            var sum = b[j];
            for (var i = 0; i < inputs; i++) {
                if (x[r][i] != 0) {
                    sum += x[r][i] * w[j][i];
                }
            }
            out[r][j] <== sum;
        }
    }
}

template DenseSignal(inputs, outputs) {
    signal input x[inputs];
    signal input w[outputs][inputs];
    signal input b[outputs];
    signal output out[outputs];
    signal product[outputs][inputs];
    for (var j = 0; j < outputs; j++) {
        var sum = b[j];
        for (var i = 0; i < inputs; i++) {
            product[j][i] <== w[j][i] * x[i];
            sum += product[j][i];
        }
        out[j] <== sum;
    }
}
