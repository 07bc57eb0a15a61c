pragma circom 2.1.6;

include "bits.circom";

// Ensembles of decision trees whose splits and leaves are hidden. A split is one of S public candidates, "feature
// f is at least v", in the order of features and of v within a feature, or none of them, which holds for no row.

// The split as prefix sums of a vector with a single 1, feature by feature: within[s] says whether it is one of the
// candidates of its feature up to s, so that on a row whose feature holds all candidates up to s and no others,
// the decision is one wire for each feature. start[s] is the first candidate of the feature of s.
// Sound: the S + 1 differences, the one for "none" included, are bits and sum to 1 whatever `within` is. S + 1 is
// below the field's order, so exactly one of them is 1; `split` is its place.
template Split(S, start) {
    signal input split;
    signal output within[S];
    var index = 0;
    var none = 1;
    for (var s = 0; s < S; s++) {
        within[s] <-- split >= start[s] && split <= s ? 1 : 0;
        var is = within[s];
        if (s > start[s]) {
            is -= within[s - 1];
        }
        is * (is - 1) === 0;
        index += s * is;
        var last = 1;
        if (s + 1 < S) {
            if (start[s + 1] == start[s]) {
                last = 0;
            }
        }
        if (last == 1) {
            none -= within[s];
        }
    }
    none * (none - 1) === 0;
    split === index + S * none;
}

// What a tree of I splits says on each row, for T sums at once. yes[i] and no[i] are the splits after split i, or
// from I upwards leaves; later splits have higher numbers. held[r] lists for row r the last candidate that holds of
// each feature, S where there is none.
// Sound: each decision is a sum of bits of one vector with a single 1, so it is a bit, and value[i] is the one of two
// values that it says: below the root there is one path, that of the decisions. A branch that no row can take adds 0.
template TreeOnRows(rows, features, held, S, start, T, I, yes, no) {
    signal input split[I];
    signal input leaf[T][I + 1];
    signal output vote[T][rows];
    signal value[T][rows][I];
    component at[I];
    for (var i = 0; i < I; i++) {
        at[i] = Split(S, start);
        at[i].split <== split[i];
    }
    for (var r = 0; r < rows; r++) {
        for (var i = I - 1; i >= 0; i--) {
            var holds = 0;
            for (var f = 0; f < features; f++) {
                if (held[r][f] < S) {
                    holds += at[i].within[held[r][f]];
                }
            }
            for (var t = 0; t < T; t++) {
                var above = 0;
                if (yes[i] < I) {
                    above = value[t][r][yes[i]];
                } else {
                    above = leaf[t][yes[i] - I];
                }
                var below = 0;
                if (no[i] < I) {
                    below = value[t][r][no[i]];
                } else {
                    below = leaf[t][no[i] - I];
                }
                value[t][r][i] <== holds * (above - below) + below;
            }
        }
        for (var t = 0; t < T; t++) {
            vote[t][r] <== value[t][r][0];
        }
    }
}

// The same for few rows, at a cost that hardly depends on S: only the splits that a row comes to are looked at, one of
// each level. depth[i] is the level of split i. A split is A * B numbers wide: number s holds for row r where
// holding[r][s \ B][s % B] is 1. A place without a split at some level has the number `never`.
// Sound: the parts of a number are the places of the single 1s in two vectors of bits that each sum to 1, so a split that
// is below A * B has exactly one pair of parts, and one that is not has none. holds[l] is therefore a bit, the table's, and
// each `at` is one of two values by the decision of its level: at[r][l][0] is the split that the path comes to.
template TreeOnPaths(rows, holding, A, B, never, T, I, D, depth, yes, no) {
    signal input split[I];
    signal input leaf[T][I + 1];
    signal output vote[T][rows];
    signal at[rows][D][I];
    signal high[rows][D][A];
    signal low[rows][D][B];
    signal both[rows][D][A];
    signal value[T][rows][I];
    for (var r = 0; r < rows; r++) {
        var holds[D];
        for (var l = 0; l < D; l++) {
            for (var i = I - 1; i >= 0; i--) {
                if (depth[i] > l) {
                    at[r][l][i] <== 0;
                } else if (depth[i] == l) {
                    at[r][l][i] <== split[i];
                } else {
                    var above = never;
                    if (yes[i] < I) {
                        above = at[r][l][yes[i]];
                    }
                    var below = never;
                    if (no[i] < I) {
                        below = at[r][l][no[i]];
                    }
                    at[r][l][i] <== holds[depth[i]] * (above - below) + below;
                }
            }
            var number = 0;
            var highs = 0;
            var lows = 0;
            for (var x = 0; x < A; x++) {
                high[r][l][x] <-- at[r][l][0] \ B == x ? 1 : 0;
                high[r][l][x] * (high[r][l][x] - 1) === 0;
                highs += high[r][l][x];
                number += x * B * high[r][l][x];
            }
            for (var y = 0; y < B; y++) {
                low[r][l][y] <-- at[r][l][0] % B == y ? 1 : 0;
                low[r][l][y] * (low[r][l][y] - 1) === 0;
                lows += low[r][l][y];
                number += y * low[r][l][y];
            }
            highs === 1;
            lows === 1;
            number === at[r][l][0];
            holds[l] = 0;
            for (var x = 0; x < A; x++) {
                var any = 0;
                var all = 1;
                var sum = 0;
                for (var y = 0; y < B; y++) {
                    if (holding[r][x][y] == 1) {
                        any = 1;
                        sum += low[r][l][y];
                    } else {
                        all = 0;
                    }
                }
                if (any == 1 && all == 0) {
                    both[r][l][x] <== high[r][l][x] * sum;
                    holds[l] += both[r][l][x];
                } else {
                    both[r][l][x] <== 0;
                    if (all == 1) {
                        holds[l] += high[r][l][x];
                    }
                }
            }
        }
        for (var i = I - 1; i >= 0; i--) {
            for (var t = 0; t < T; t++) {
                var above = 0;
                if (yes[i] < I) {
                    above = value[t][r][yes[i]];
                } else {
                    above = leaf[t][yes[i] - I];
                }
                var below = 0;
                if (no[i] < I) {
                    below = value[t][r][no[i]];
                } else {
                    below = leaf[t][no[i] - I];
                }
                value[t][r][i] <== holds[depth[i]] * (above - below) + below;
            }
        }
        for (var t = 0; t < T; t++) {
            vote[t][r] <== value[t][r][0];
        }
    }
}

// Packs parameters as PackedParameters does (commitment.circom). Signed ones are range-checked to their widths. Splits
// are stored as they are, and range-checked as well unless they are `bound`: `Split` has bound them to 0..S, which fits.
template PackedTrees(groups, counts, widths, isSplit, bound, total, elements) {
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
            var stored = in[at];
            if (isSplit[g] == 0) {
                stored += 1 << (width - 1);
            }
            if (isSplit[g] == 0 || bound == 0) {
                bits[at] = Bits(width);
                bits[at].in <== stored;
            }
            packed += stored * (1 << offset);
            offset += width;
            at++;
        }
    }
    element[e] <== packed;
    assert(at == total);
    assert(e == elements - 1);
}
