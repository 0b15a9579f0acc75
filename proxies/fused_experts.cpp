// Routed experts: rows are read from their tokens' places, go through the expert's net, and their sums are written there.
//
// N tokens, D model width, F hidden width (both multiples of 32), E experts, P pairs of a token and an expert in the
// order of tokens, R rows: pairs in the order of experts; `place` is a pair's row, `start` an expert's first row.

#include <vector>

#include "nets.h"

namespace {

// Of every token the sum of its rows.
void join(const bf16* rows, const long* token, const long* place, long P, long N, long D, bf16* to) {
    for (long n = 0, p = 0; n < N; ++n) {
        const long first = p;
        while (p < P && token[p] == n) ++p;
        for (long c = 0; c < D; c += 16) {
            __m512 sum = _mm512_setzero_ps();
            for (long q = first; q < p; ++q) sum = _mm512_add_ps(sum, wide(rows + place[q] * D + c));
            narrow(to + n * D + c, sum);
        }
    }
}

// Rows in the order of experts.
struct Routed {
    static constexpr bool GATED = true;

    Scratch<long> token;
    Scratch<float> gate;
    const long* starts;

    Routed(const long* token_of, const float* gates, const long* place, const long* starts, long P)
        : token(P), gate(P), starts(starts) {
        for (long p = 0; p < P; ++p) token[place[p]] = token_of[p], gate[place[p]] = gates[p];
    }

    long start(long expert) const { return starts[expert]; }

    // `count` rows of a block, [N][D] from their tokens' places, and zeros up to a whole block.
    const bf16* block(const bf16* from, long first, long count, long D, bf16* room) const {
        for (long r = 0; r < count; ++r) std::copy_n(from + token[first + r] * D, D, room + r * D);
        std::fill(room + count * D, room + rounded(count) * D, 0);
        return room;
    }
};

}  // namespace

// start[E + 1] and place[P] of pairs with these experts; an expert's rows keep the order of its pairs.
extern "C" void places(const long* expert, long* start, long* place, long P, long E) {
    std::fill_n(start, E + 1, 0);
    for (long p = 0; p < P; ++p) ++start[expert[p] + 1];
    for (long e = 0; e < E; ++e) start[e + 1] += start[e];
    std::vector<long> next(start, start + E);
    for (long p = 0; p < P; ++p) place[p] = next[expert[p]]++;
}

// y[N][D]: the sum over a token's pairs of gate * down(relu(up(x))^2); kept for the way back: P x F.
extern "C" void experts(const bf16* x, const float* gates, const bf16* up, const bf16* down, const long* token,
                        const long* start, const long* place, bf16* kept, bf16* y, long N, long D, long F, long P,
                        long E) {
    Scratch<bf16> found(P * D);
    forward(Routed(token, gates, place, start, P), x, up, down, kept, found, D, F, E);
    join(found, token, place, P, N, D, y);
}

// Slopes of what `experts` reads, from dy[N][D].
extern "C" void experts_backward(const bf16* dy, const bf16* x, const float* gates, const bf16* up, const bf16* down,
                                 const long* token, const long* start, const long* place, const bf16* kept, bf16* dx,
                                 float* dgates, bf16* dup, bf16* ddown, long N, long D, long F, long P, long E) {
    Scratch<bf16> found(P * D);
    Scratch<float> dgate_row(P);
    backward(Routed(token, gates, place, start, P), dy, x, up, down, kept, found, dgate_row, dup, ddown, D, F, E);
    for (long p = 0; p < P; ++p) dgates[p] = dgate_row[place[p]];
    join(found, token, place, P, N, D, dx);
}
