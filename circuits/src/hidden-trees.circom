pragma circom 2.1.6;

// Trees whose splits and leaves are hidden, on one row that is hidden as well (trees.circom has those on public rows).

// Which candidates hold for a hidden row: for each feature as many as it is above its least value, and the first ones.
// Sound: the wires of a feature are bits, none is 1 where the one before is 0, and their sum, far below the field's order, is
// the feature's distance from its least value; so that there is one way to set them.
template Thermometers(features, low, span, S) {
    signal input x[features];
    signal output held[S];
    var s = 0;
    for (var i = 0; i < features; i++) {
        var sum = 0;
        for (var k = 0; k < span[i]; k++) {
            held[s] <-- x[i] - low[i] > k ? 1 : 0;
            held[s] * (held[s] - 1) === 0;
            if (k > 0) {
                held[s] * (1 - held[s - 1]) === 0;
            }
            sum += held[s];
            s++;
        }
        sum === x[i] - low[i];
    }
}

// What a tree of I splits says of the row, for T sums at once: TreeOnPaths with `held`, of which split number s looks at held[s],
// in place of a public table. A split is A * B numbers wide; those from S on hold for no row.
// Sound: as there, the parts of a number are the places of the single 1s in two vectors of bits that each sum to 1. `holds` is the
// sum over all pairs of parts of high * low * held, of which one is not 0 at most.
template TreeOnHidden(A, B, S, T, I, D, depth, yes, no) {
    signal input held[S];
    signal input split[I];
    signal input leaf[T][I + 1];
    signal output vote[T];
    signal at[D][I];
    signal high[D][A];
    signal low[D][B];
    signal chosen[D][S];
    signal both[D][A];
    signal value[T][I];
    var holds[D];
    for (var l = 0; l < D; l++) {
        for (var i = I - 1; i >= 0; i--) {
            if (depth[i] > l) {
                at[l][i] <== 0;
            } else if (depth[i] == l) {
                at[l][i] <== split[i];
            } else {
                var above = S;
                if (yes[i] < I) {
                    above = at[l][yes[i]];
                }
                var below = S;
                if (no[i] < I) {
                    below = at[l][no[i]];
                }
                at[l][i] <== holds[depth[i]] * (above - below) + below;
            }
        }
        var number = 0;
        var highs = 0;
        var lows = 0;
        for (var x = 0; x < A; x++) {
            high[l][x] <-- at[l][0] \ B == x ? 1 : 0;
            high[l][x] * (high[l][x] - 1) === 0;
            highs += high[l][x];
            number += x * B * high[l][x];
        }
        for (var y = 0; y < B; y++) {
            low[l][y] <-- at[l][0] % B == y ? 1 : 0;
            low[l][y] * (low[l][y] - 1) === 0;
            lows += low[l][y];
            number += y * low[l][y];
        }
        highs === 1;
        lows === 1;
        number === at[l][0];
        holds[l] = 0;
        for (var x = 0; x < A; x++) {
            var sum = 0;
            for (var y = 0; y < B; y++) {
                if (x * B + y < S) {
                    chosen[l][x * B + y] <== low[l][y] * held[x * B + y];
                    sum += chosen[l][x * B + y];
                }
            }
            both[l][x] <== high[l][x] * sum;
            holds[l] += both[l][x];
        }
    }
    for (var i = I - 1; i >= 0; i--) {
        for (var t = 0; t < T; t++) {
            var above = 0;
            if (yes[i] < I) {
                above = value[t][yes[i]];
            } else {
                above = leaf[t][yes[i] - I];
            }
            var below = 0;
            if (no[i] < I) {
                below = value[t][no[i]];
            } else {
                below = leaf[t][no[i] - I];
            }
            value[t][i] <== holds[depth[i]] * (above - below) + below;
        }
    }
    for (var t = 0; t < T; t++) {
        vote[t] <== value[t][0];
    }
}
