pragma circom 2.1.6;

// Convolutions, out[o, p] = b[o] + sum over channels c and taps k of w[o, c, k] x[c, under[p][k]]. Of `outputs` each has
// the channels of its own group. under[p][k] is -1 in the padding, where nothing is added. Nothing is range-checked
// here: the caller's bounds on w, b and x keep the sums far below the field's order.

// A public image: every sum is linear in w and b and costs nothing.
template ConvConstant(groups, channels, plane, outputs, places, taps, under, x) {
    signal input w[outputs][channels * taps];
    signal input b[outputs];
    signal output out[outputs * places];
    for (var o = 0; o < outputs; o++) {
        var first = (o \ (outputs \ groups)) * channels;
        for (var p = 0; p < places; p++) {
            var sum = b[o];
            for (var c = 0; c < channels; c++) {
                for (var k = 0; k < taps; k++) {
                    if (under[p][k] >= 0) {
                        if (x[(first + c) * plane + under[p][k]] != 0) {
                            sum += x[(first + c) * plane + under[p][k]] * w[o][c * taps + k];
                        }
                    }
                }
            }
            out[o * places + p] <== sum;
        }
    }
}

// Sound: each product is the only value that its constraint allows, and the sums are linear in them. The same signals w
// are multiplied at all places, so there is one kernel, that of the commitment.
template ConvSignal(groups, channels, plane, outputs, places, taps, under) {
    signal input x[groups * channels * plane];
    signal input w[outputs][channels * taps];
    signal input b[outputs];
    signal output out[outputs * places];
    signal product[outputs][places][channels * taps];
    for (var o = 0; o < outputs; o++) {
        var first = (o \ (outputs \ groups)) * channels;
        for (var p = 0; p < places; p++) {
            var sum = b[o];
            for (var c = 0; c < channels; c++) {
                for (var k = 0; k < taps; k++) {
                    if (under[p][k] >= 0) {
                        product[o][p][c * taps + k] <== w[o][c * taps + k] * x[(first + c) * plane + under[p][k]];
                        sum += product[o][p][c * taps + k];
                    } else {
                        product[o][p][c * taps + k] <== 0;
                    }
                }
            }
            out[o * places + p] <== sum;
        }
    }
}
