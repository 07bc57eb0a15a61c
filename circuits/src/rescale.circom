pragma circom 2.1.6;

include "bits.circom";

// Rounding to a coarser step, out = floor((in + half) * 2^-k), half = 2^(k-1) or 0 where k = 0, and what is cut off.
// |in + half - low * 2^k| < 2^(n-1), 0 <= k < n - 1.

// Nothing is cut off. Sound: n bits have one meaning for a number of this range (bits.circom), and the quotient is linear
// in them.
template Rescale(count, n, k) {
    signal input in[count];
    signal output out[count];
    component bits[count];
    for (var j = 0; j < count; j++) {
        bits[j] = Bits(n);
        bits[j].in <== in[j] + (k > 0 ? 1 << (k - 1) : 0) + (1 << (n - 1));
        var quotient = 0;
        var power = 1;
        for (var i = k; i < n; i++) {
            quotient += bits[j].bit[i] * power;
            power += power;
        }
        out[j] <== quotient - (1 << (n - 1 - k));
    }
}

// Not below `low`. As above, and the top bit says whether the quotient is at least `low`: out - low is that bit times it.
template RescaleAbove(count, n, k, low) {
    signal input in[count];
    signal output out[count];
    component bits[count];
    for (var j = 0; j < count; j++) {
        bits[j] = Bits(n);
        bits[j].in <== in[j] + (k > 0 ? 1 << (k - 1) : 0) - low * (1 << k) + (1 << (n - 1));
        var quotient = 0;
        var power = 1;
        for (var i = k; i < n - 1; i++) {
            quotient += bits[j].bit[i] * power;
            power += power;
        }
        out[j] <== bits[j].bit[n - 1] * quotient + low;
    }
}

// Not below `low` nor above low + 2^m - 1, k + m < n - 1. The bits between say whether it is above: `over` counts those
// that are 1, and it is a count of bits, far below the field's order.
// Sound: where over is not 0, the second constraint makes `fits` 0; where it is 0, the first makes it 1. So `fits` is a
// bit that says over = 0, whatever `inverse` is. Where over is 0, `inverse` may be anything and nothing depends on it, so
// it is bound to be 0 there by the third: fits * inverse = 0. `within` is then the lower bits or 2^m - 1.
template RescaleWithin(count, n, k, m, low) {
    signal input in[count];
    signal output out[count];
    signal inverse[count];
    signal fits[count];
    signal within[count];
    component bits[count];
    for (var j = 0; j < count; j++) {
        bits[j] = Bits(n);
        bits[j].in <== in[j] + (k > 0 ? 1 << (k - 1) : 0) - low * (1 << k) + (1 << (n - 1));
        var quotient = 0;
        var power = 1;
        for (var i = k; i < k + m; i++) {
            quotient += bits[j].bit[i] * power;
            power += power;
        }
        var over = 0;
        for (var i = k + m; i < n - 1; i++) {
            over += bits[j].bit[i];
        }
        inverse[j] <-- over != 0 ? 1 / over : 0;
        fits[j] <== 1 - over * inverse[j];
        fits[j] * over === 0;
        fits[j] * inverse[j] === 0;
        within[j] <== fits[j] * (quotient - (power - 1)) + (power - 1);
        out[j] <== bits[j].bit[n - 1] * within[j] + low;
    }
}
