pragma circom 2.1.6;

include "bits.circom";

// A hidden row of features, as the data dictionary allows it, packed for its commitment: feature i lies in low[i]..low[i] + span[i],
// and of the features of a column of categories exactly one is 1. column[i] numbers the columns of categories from 1; 0 is any other.
// Each value is stored as value - low, in the bits that the span takes, from the least significant bit upwards, the next element
// where one would pass bit 248.
// Sound: a value is bounded from below by its bits, and from above by the bits of its distance to the end where these bits could
// hold more than the span. The features of a column of categories are bits whose sum, far below the field's order, is 1.
template HiddenRow(features, low, span, bits, column, elements) {
    signal input x[features];
    signal output element[elements];
    component least[features];
    component most[features];
    var e = 0;
    var offset = 0;
    var packed = 0;
    var hot = 0;
    for (var i = 0; i < features; i++) {
        if (offset + bits[i] > 248) {
            element[e] <== packed;
            e++;
            offset = 0;
            packed = 0;
        }
        least[i] = Bits(bits[i]);
        least[i].in <== x[i] - low[i];
        if (span[i] + 1 < (1 << bits[i])) {
            most[i] = Bits(bits[i]);
            most[i].in <== low[i] + span[i] - x[i];
        }
        packed += (x[i] - low[i]) * (1 << offset);
        offset += bits[i];
        if (column[i] > 0) {
            hot += x[i];
            var last = 1;
            if (i + 1 < features) {
                if (column[i + 1] == column[i]) {
                    last = 0;
                }
            }
            if (last == 1) {
                hot === 1;
                hot = 0;
            }
        }
    }
    element[e] <== packed;
    assert(e == elements - 1);
}
