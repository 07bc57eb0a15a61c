pragma circom 2.1.6;

include "bits.circom";

// The greatest of groups of numbers, two at a time: step s takes numbers left[s] and right[s] and is number inputs + s
// itself. All are within -2^(n-1) < x < 2^(n-1) of each other: |left - right| < 2^(n-1).
// Sound: the bit says whether the difference is negative, whatever the prover would like, because n bits have one meaning
// for a number of this range; the greater of the two is the only value that the product allows then. On a tie both are.
template Maxima(n, inputs, steps, left, right) {
    signal input in[inputs];
    signal output number[inputs + steps];
    component above[steps];
    for (var i = 0; i < inputs; i++) {
        number[i] <== in[i];
    }
    for (var s = 0; s < steps; s++) {
        above[s] = NotNegative(n);
        above[s].in <== number[left[s]] - number[right[s]];
        number[inputs + s] <== above[s].out * (number[left[s]] - number[right[s]]) + number[right[s]];
    }
}
