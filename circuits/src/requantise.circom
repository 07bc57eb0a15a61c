pragma circom 2.1.6;

include "bits.circom";

// out = max(0, floor((in + 2^(k-1)) * 2^-k)) for |in| + 2^(k-1) < 2^(n-1), 1 <= k.
// One decomposition serves rounding, quotient, remainder and sign: of the n bits of in + 2^(k-1) + 2^(n-1),
// the top one says that the value is not negative, the low k are the remainder, and those between the
// quotient when it is.
template RequantiseRelu(outputs, n, k) {
    assert(k >= 1);
    signal input in[outputs];
    signal output out[outputs];
    component bits[outputs];
    for (var j = 0; j < outputs; j++) {
        bits[j] = Bits(n);
        bits[j].in <== in[j] + (1 << (k - 1)) + (1 << (n - 1));
        var quotient = 0;
        var power = 1;
        for (var i = k; i < n - 1; i++) {
            quotient += bits[j].bit[i] * power;
            power += power;
        }
        out[j] <== bits[j].bit[n - 1] * quotient;
    }
}
