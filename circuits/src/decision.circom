pragma circom 2.1.6;

include "bits.circom";

// The class is the index of the greatest logit, the lowest index on a tie. A row whose class is `label`
// therefore has logit[label] - logit[j] >= 1 for each j below label and >= 0 for each j above. These
// differences, the margins, are taken in order of j with label itself left out.

// Margins of a layer whose inputs are signals: weights and biases of a layer that computes them directly,
// one output less than the classes.
template MarginLayer(inputs, classes, label) {
    signal input w[classes][inputs];
    signal input b[classes];
    signal output marginW[classes - 1][inputs];
    signal output marginB[classes - 1];
    for (var m = 0; m < classes - 1; m++) {
        var j = m < label ? m : m + 1;
        for (var i = 0; i < inputs; i++) {
            marginW[m][i] <== w[label][i] - w[j][i];
        }
        marginB[m] <== b[label] - b[j];
    }
}

// Margins from the logits themselves.
template Margins(classes, label) {
    signal input logit[classes];
    signal output margin[classes - 1];
    for (var m = 0; m < classes - 1; m++) {
        margin[m] <== logit[label] - logit[m < label ? m : m + 1];
    }
}

// right = 1 when the margins say that the class is `label`, else 0. |margin| < 2^(n-1).
template Decided(classes, label, n) {
    signal input margin[classes - 1];
    signal output right;
    component above[classes - 1];
    signal all[classes];
    all[0] <== 1;
    for (var m = 0; m < classes - 1; m++) {
        above[m] = NotNegative(n);
        above[m].in <== margin[m] - (m < label ? 1 : 0);
        all[m + 1] <== all[m] * above[m].out;
    }
    right <== all[classes - 1];
}

// 0 <= threshold <= count, where count is a sum of `rows` bits. 2^n > rows.
// count <= rows, so threshold <= rows follows.
template AtLeast(rows, n) {
    assert(rows < 2 ** n);
    signal input right[rows];
    signal input threshold;
    var count = 0;
    for (var r = 0; r < rows; r++) {
        count += right[r];
    }
    component low = Bits(n);
    low.in <== threshold;
    component high = Bits(n);
    high.in <== count - threshold;
}
