pragma circom 2.1.6;

// Range checks. Sound because 2^n is far below the field's order: a sum of n bits has one meaning.

// 0 <= in < 2^n, and its bits, least significant first. 1 <= n <= 250.
template Bits(n) {
    assert(n >= 1 && n <= 250);
    signal input in;
    signal output bit[n];
    var sum = 0;
    var power = 1;
    for (var i = 0; i < n; i++) {
        bit[i] <-- (in >> i) & 1;
        bit[i] * (bit[i] - 1) === 0;
        sum += bit[i] * power;
        power += power;
    }
    sum === in;
}

// -2^(n-1) <= in < 2^(n-1); out = 1 when in >= 0, else 0.
template NotNegative(n) {
    signal input in;
    signal output out;
    component bits = Bits(n);
    bits.in <== in + (1 << (n - 1));
    out <== bits.bit[n - 1];
}
