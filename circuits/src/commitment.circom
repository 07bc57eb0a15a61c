pragma circom 2.1.6;

include "bits.circom";
include "circomlib/poseidon.circom";

// Packs signed parameters into field elements: each is range-checked to its width of n bits and stored as
// value + 2^(n-1); from the least significant bit upwards, the next element where one would pass bit 248.
// `counts` and `widths` describe `groups` runs of parameters of equal width.
template PackedParameters(groups, counts, widths, total, elements) {
    signal input in[total];
    signal output element[elements];
    component bits[total];
    var at = 0;
    var e = 0;
    var offset = 0;
    var packed = 0;
    for (var g = 0; g < groups; g++) {
        var width = widths[g];
        for (var c = 0; c < counts[g]; c++) {
            if (offset + width > 248) {
                element[e] <== packed;
                e++;
                offset = 0;
                packed = 0;
            }
            bits[at] = Bits(width);
            bits[at].in <== in[at] + (1 << (width - 1));
            packed += (in[at] + (1 << (width - 1))) * (1 << offset);
            offset += width;
            at++;
        }
    }
    element[e] <== packed;
    assert(at == total);
    assert(e == elements - 1);
}

// One element for n: the first 16 hashed, then the result with the next 15, and so on.
template PoseidonChain(n) {
    signal input in[n];
    signal output out;
    var hashes = n <= 16 ? 1 : 1 + (n - 2) \ 15;
    component hash[hashes];
    var at = 0;
    for (var h = 0; h < hashes; h++) {
        var chained = h > 0 ? 1 : 0;
        var fresh = n - at < 16 - chained ? n - at : 16 - chained;
        hash[h] = Poseidon(chained + fresh);
        if (chained == 1) {
            hash[h].inputs[0] <== hash[h - 1].out;
        }
        for (var i = 0; i < fresh; i++) {
            hash[h].inputs[chained + i] <== in[at + i];
        }
        at += fresh;
    }
    out <== hash[hashes - 1].out;
}

// Poseidon(version, architecture element, salt, root of the parameters).
template ModelCommitment(version, architecture, elements) {
    signal input salt;
    signal input element[elements];
    signal output out;
    component root = PoseidonChain(elements);
    root.in <== element;
    component hash = Poseidon(4);
    hash.inputs <== [version, architecture, salt, root.out];
    out <== hash.out;
}
