pragma circom 2.1.6;

include "bits.circom";

// Whether a model's only output is one whose answer counts: right = 1 when low <= in <= high, else 0.
// Sound where |in - low| and |in - high| are below 2^(n-1), as in, low and high within a public bound of each other are: each
// difference then has one meaning as n bits, whose top one is its sign, and `right` is the product of both signs.
template Within(n) {
    signal input in;
    signal input low;
    signal input high;
    signal output right;
    component above = NotNegative(n);
    above.in <== in - low;
    component below = NotNegative(n);
    below.in <== high - in;
    right <== above.out * below.out;
}
