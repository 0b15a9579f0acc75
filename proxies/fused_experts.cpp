// The nets of routed experts (squared ReLU) in bfloat16, one thread: a block of an expert's rows at a time goes through
// both matrices, there and back, and stays in the cache. Rows are read from their tokens' places, and their sums are
// written there.
//
// N tokens, D model width, F hidden width (both multiples of 32), E experts, P pairs of a token and an expert in the
// order of tokens, R rows: pairs in the order of experts; `place` is a pair's row, `start` an expert's first row.
// up is E x F x D, down E x D x F. Products multiply pairs of bfloat16 that stand in one 32-bit word and add in float32,
// ROWS by 32 columns at a time. What stands at their right is packed in panels of 32 columns, so that a panel is one
// stretch of the closest cache.

#include <algorithm>
#include <vector>

#include "slopes.h"

namespace {

constexpr long GROUP = 128;  // hidden units whose slopes are summed up as soon as they are found
constexpr long BLOCK = 256;  // rows at a time: with the matrices of an expert they fit a core's own cache

// each(row, column, low, high): rows [count][K] times a packed matrix of `width` columns; count is a multiple of WHOLE.
template <class Each>
inline void times(const Tiles& tiles, const bf16* rows, long count, long K, const pair* packed, long width, Each each) {
#ifdef __AMX_BF16__
    if (tiles.lent) {
        alignas(64) float found[2][WHOLE * COLUMNS];
        long turn = 0, row = -1, column = 0;
        const auto pass_on = [&](const float* from, long i) {
            from += i * COLUMNS;
            each(row + i, column, _mm512_load_ps(from), _mm512_load_ps(from + 16));
        };
        for (long c = 0; c < width; c += COLUMNS)
            for (long r = 0; r < count; r += WHOLE, turn = 1 - turn) {
                const pair *left = (const pair*)rows + r * K / 2, *right = packed + c * K / 2;
                square(found[turn], COLUMNS, false, left, K / 2, right, K / 2, [&](long i) {
                    if (row >= 0) pass_on(found[1 - turn], i);
                });
                row = r, column = c;
            }
        for (long i = 0; i < WHOLE; ++i) pass_on(found[1 - turn], i);
        return;
    }
#endif
    for (long c = 0; c < width; c += COLUMNS)
        for (long r = 0; r < count; r += ROWS)
            tile((const pair*)rows + r * K / 2, K / 2, 1, packed + c * K / 2, COLUMNS, K / 2,
                 [&](long i, __m512 low, __m512 high) { each(r + i, c, low, high); });
}

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

// Rows in the order of experts, and the blocks that they are worked on in.
struct Rows {
    Scratch<long> token;
    Scratch<float> gate;
    const long* start;

    Rows(const long* token_of, const float* gates, const long* place, const long* start, long P)
        : token(P), gate(P), start(start) {
        for (long p = 0; p < P; ++p) token[place[p]] = token_of[p], gate[place[p]] = gates[p];
    }

    // `count` rows of a block, [N][D] from their tokens' places, and zeros up to a whole block.
    void gather(const bf16* from, long first, long count, long D, bf16* to) const {
        for (long r = 0; r < count; ++r) std::copy_n(from + token[first + r] * D, D, to + r * D);
        std::fill(to + count * D, to + rounded(count) * D, 0);
    }

    // each(first row, rows): as many blocks as needed, of about the same size.
    template <class Each>
    void blocks(long expert, Each each) const {
        const long first = start[expert], count = start[expert + 1] - first;
        if (!count) return;
        const long wanted = (count + BLOCK - 1) / BLOCK;
        const long size = rounded((count + wanted - 1) / wanted);
        for (long done = 0; done < count; done += size) each(first + done, std::min(size, count - done));
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

// y[N][D]: the sum over a token's pairs of gate * down(relu(up(x))^2); kept: relu(up(x)) for the way back, P x F
// in the order it is found in, which is a block of rows after the other, and of a block 32 hidden units.
extern "C" void experts(const bf16* x, const float* gates, const bf16* up, const bf16* down, const long* token,
                        const long* start, const long* place, bf16* kept, bf16* y, long N, long D, long F, long P,
                        long E) {
    const Rows rows(token, gates, place, start, P);
    const Tiles tiles;
    Scratch<pair> packed_up(F * D / 2), packed_down(D * F / 2);
    Scratch<bf16> x_block(BLOCK * D), hidden(BLOCK * F), found(P * D);
    for (long e = 0; e < E; ++e) {
        if (start[e] == start[e + 1]) continue;
        pack_transposed(up + e * F * D, F, D, packed_up);
        pack_transposed(down + e * D * F, D, F, packed_down);
        rows.blocks(e, [&](long first, long count) {
            const long whole = rounded(count);
            rows.gather(x, first, count, D, x_block);
            times(tiles, x_block, whole, D, packed_up, F, [&](long r, long f, __m512 low, __m512 high) {
                const __m512 zero = _mm512_setzero_ps();  // first in max: NaN stays NaN
                const __m512i positive = joined(_mm512_max_ps(zero, low), _mm512_max_ps(zero, high));
                const __m512 a = wide(_mm512_castsi512_si256(positive));
                const __m512 b = wide(_mm512_extracti64x4_epi64(positive, 1));
                if (r < count) _mm512_storeu_si512(kept + first * F + f * count + r * COLUMNS, positive);
                _mm512_storeu_si512(hidden + r * F + f, joined(_mm512_mul_ps(a, a), _mm512_mul_ps(b, b)));
            });
            times(tiles, hidden, whole, F, packed_down, D, [&](long r, long d, __m512 low, __m512 high) {
                if (r >= count) return;
                const __m512 gate = _mm512_set1_ps(rows.gate[first + r]);
                _mm512_storeu_si512(found + (first + r) * D + d,
                                    joined(_mm512_mul_ps(low, gate), _mm512_mul_ps(high, gate)));
            });
        });
    }
    join(found, token, place, P, N, D, y);
}

// Slopes of what `experts` reads, from dy[N][D].
extern "C" void experts_backward(const bf16* dy, const bf16* x, const float* gates, const bf16* up, const bf16* down,
                                 const long* token, const long* start, const long* place, const bf16* kept, bf16* dx,
                                 float* dgates, bf16* dup, bf16* ddown, long N, long D, long F, long P, long E) {
    const Rows rows(token, gates, place, start, P);
    const Tiles tiles;
    Scratch<pair> packed_up(F * D / 2), packed_down(D * F / 2), x_left(BLOCK / 2 * D), dy_left(BLOCK / 2 * D);
    Scratch<pair> slope_right(BLOCK / 2 * GROUP), hidden_right(BLOCK / 2 * GROUP);
    Scratch<bf16> x_block(BLOCK * D), dy_block(BLOCK * D), slope(BLOCK * F), found(P * D);
    Scratch<float> dup_sum(D * F), ddown_sum(D * F), dgate(BLOCK * 16), dgate_row(P);
    for (long e = 0; e < E; ++e) {
        if (start[e] == start[e + 1]) {
            std::fill_n(dup + e * F * D, F * D, 0);
            std::fill_n(ddown + e * D * F, D * F, 0);
            continue;
        }
        const bf16 *own_up = up + e * F * D, *own_down = down + e * D * F;
        pack([&](long f) { return own_up + f * D; }, F, D, packed_up);
        pack([&](long d) { return own_down + d * F; }, D, F, packed_down);
        rows.blocks(e, [&](long first, long count) {
            const long whole = rounded(count), steps = whole / 2;
            rows.gather(x, first, count, D, x_block);
            rows.gather(dy, first, count, D, dy_block);
            pack_left(x_block, whole, D, x_left);
            pack_left(dy_block, whole, D, dy_left);
            std::fill_n(dgate.at, whole * 16, 0.0f);
            for (long group = 0; group < F; group += GROUP) {
                const long width = std::min(GROUP, F - group);
                const bf16* positives = kept + first * F + group * count;
                __m512i even_slope = _mm512_setzero_si512(), even_hidden = even_slope;
                const auto put_slopes = [&](long r, long f, __m512 low, __m512 high) {
                    __m512i slopes = _mm512_setzero_si512(), hiddens = slopes;
                    if (r < count) {
                        const bf16* positive = positives + f * count + r * COLUMNS;
                        const __m512 a = wide(positive), b = wide(positive + 16);
                        const __m512 gate = _mm512_set1_ps(rows.gate[first + r]);
                        const __m512 a_low = _mm512_mul_ps(a, low), b_high = _mm512_mul_ps(b, high);
                        __m512 sum = _mm512_load_ps(dgate + r * 16);
                        sum = _mm512_fmadd_ps(b, b_high, _mm512_fmadd_ps(a, a_low, sum));
                        _mm512_store_ps(dgate + r * 16, sum);
                        const __m512 twice = _mm512_add_ps(gate, gate);
                        slopes = joined(_mm512_mul_ps(twice, a_low), _mm512_mul_ps(twice, b_high));
                        const __m512 ga = _mm512_mul_ps(gate, a), gb = _mm512_mul_ps(gate, b);
                        hiddens = joined(_mm512_mul_ps(ga, a), _mm512_mul_ps(gb, b));
                    }
                    _mm512_storeu_si512(slope + r * F + group + f, slopes);
                    if (r % 2 == 0) {
                        even_slope = slopes, even_hidden = hiddens;
                        return;
                    }
                    const long place = f * steps + r / 2 * COLUMNS;
                    put(slope_right + place, Words(even_slope, slopes));
                    put(hidden_right + place, Words(even_hidden, hiddens));
                };
                times(tiles, dy_block, whole, D, packed_down + group * D / 2, width, put_slopes);
                slopes(tiles, x_left, D, slope_right, width, steps, first > start[e], dup_sum + group * D);
                slopes(tiles, dy_left, D, hidden_right, width, steps, first > start[e], ddown_sum + group * D);
            }
            for (long r = 0; r < count; ++r)
                dgate_row[first + r] = _mm512_reduce_add_ps(_mm512_load_ps(dgate + r * 16));
            times(tiles, slope, whole, F, packed_up, D, [&](long r, long d, __m512 low, __m512 high) {
                if (r < count) _mm512_storeu_si512(found + (first + r) * D + d, joined(low, high));
            });
        });
        narrow_columns(dup_sum, D, F, dup + e * F * D);
        narrow_rows(ddown_sum, D, F, ddown + e * D * F);
    }
    for (long p = 0; p < P; ++p) dgates[p] = dgate_row[place[p]];
    join(found, token, place, P, N, D, dx);
}
