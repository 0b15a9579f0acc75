// The nets of routed experts (squared ReLU) in bfloat16, one thread: a block of an expert's rows at a time goes through
// both matrices, there and back, and stays in the cache. Rows are read from their tokens' places, and their sums are
// written there.
//
// N tokens, D model width, F hidden width (both multiples of 32), E experts, P pairs of a token and an expert in the
// order of tokens, R rows: pairs in the order of experts; `place` is a pair's row, `start` an expert's first row.
// up is E x F x D, down E x D x F. Products multiply pairs of bfloat16 that stand in one 32-bit word and add in float32,
// ROWS by 32 columns at a time. What stands at their right is packed in panels of 32 columns, so that a panel is one
// stretch of the closest cache, and so are the columns at their left where a sum is over rows, in panels of ROWS.

#include <algorithm>
#include <vector>

#include "products.h"

namespace {

constexpr long BLOCK = 256;  // rows at a time: with the matrices of an expert they fit a core's own cache

// each(row, column, low, high): rows [rows][K] times a packed matrix of `width` columns; rows is a multiple of ROWS.
template <class Each>
inline void times(const Tiles& tiles, const bf16* rows, long count, long K, const pair* packed, long width, Each each) {
    for (long c = 0; c < width; c += COLUMNS)
        for (long r = 0; r < count; r += ROWS)
            product(tiles, (const pair*)rows + r * K / 2, K / 2, packed + c * K / 2, COLUMNS, K / 2,
                    [&](long i, __m512 low, __m512 high) { each(r + i, c, low, high); });
}

// to[height][width] (+)= left' right: sums over `steps` pairs of rows; left in panels of ROWS columns, right of 32.
void slopes(const Tiles& tiles, const pair* left, long height, const pair* right, long width, long steps, bool adds,
            float* to) {
#ifdef __AMX_BF16__
    if (tiles.lent) {
        alignas(64) pair rows[ROWS * BLOCK / 2];
        for (long r = 0; r < height; r += ROWS) {
            for (long s = 0; s < steps; s += 16) transpose(left + r * steps + s * ROWS, ROWS, rows + s, steps);
            for (long c = 0; c < width; c += COLUMNS)
                product(tiles, to + r * width + c, width, adds, rows, steps, right + c * steps, COLUMNS, steps);
        }
        return;
    }
#endif
    for (long c = 0; c < width; c += COLUMNS)
        for (long r = 0; r < height; r += ROWS)
            tile_to(to + r * width + c, width, adds, left + r * steps, 1, ROWS, right + c * steps, COLUMNS, steps);
}

// Puts words of the pair of rows `step` from `column` on where the left of `slopes` expects them.
inline void put_left(pair* to, long steps, long step, long column, const Words& words) {
    to += column * steps + step * ROWS;
#ifdef __AMX_BF16__
    _mm512_store_si512(to, words.low);
    _mm512_store_si512(to + ROWS * steps, words.high);
#else
    _mm256_store_si256((__m256i*)to, _mm512_castsi512_si256(words.low));
    _mm256_store_si256((__m256i*)(to + ROWS * steps), _mm512_extracti64x4_epi64(words.low, 1));
    _mm256_store_si256((__m256i*)(to + 2 * ROWS * steps), _mm512_castsi512_si256(words.high));
    _mm256_store_si256((__m256i*)(to + 3 * ROWS * steps), _mm512_extracti64x4_epi64(words.high, 1));
#endif
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

    // each(first row, rows): as many blocks as needed, of about the same size.
    template <class Each>
    void blocks(long expert, Each each) const {
        const long first = start[expert], count = start[expert + 1] - first;
        if (!count) return;
        const long wanted = (count + BLOCK - 1) / BLOCK;
        const long size = ((count + wanted - 1) / wanted + ROWS - 1) / ROWS * ROWS;
        for (long done = 0; done < count; done += size) each(first + done, std::min(size, count - done));
    }
};

// Two rows make a word, and AMX takes sixteen words at a time.
inline long rounded(long rows) {
#ifdef __AMX_BF16__
    constexpr long WHOLE = 32;
#else
    constexpr long WHOLE = ROWS;
#endif
    return (rows + WHOLE - 1) / WHOLE * WHOLE;
}

}  // namespace

// start[E + 1] and place[P] of pairs with these experts; an expert's rows keep the order of its pairs.
extern "C" void places(const long* expert, long* start, long* place, long P, long E) {
    std::fill_n(start, E + 1, 0);
    for (long p = 0; p < P; ++p) ++start[expert[p] + 1];
    for (long e = 0; e < E; ++e) start[e + 1] += start[e];
    std::vector<long> next(start, start + E);
    for (long p = 0; p < P; ++p) place[p] = next[expert[p]]++;
}

// y[N][D]: the sum over a token's pairs of gate * down(relu(up(x))^2); kept[P][F]: relu(up(x)), for the way back.
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
            for (long r = 0; r < count; ++r) std::copy_n(x + rows.token[first + r] * D, D, x_block + r * D);
            std::fill(x_block + count * D, x_block + whole * D, 0);
            times(tiles, x_block, whole, D, packed_up, F, [&](long r, long f, __m512 low, __m512 high) {
                const __m512 zero = _mm512_setzero_ps();  // first in max: NaN stays NaN
                const __m512i positive = joined(_mm512_max_ps(zero, low), _mm512_max_ps(zero, high));
                const __m512 a = wide(_mm512_castsi512_si256(positive));
                const __m512 b = wide(_mm512_extracti64x4_epi64(positive, 1));
                if (r < count) _mm512_storeu_si512(kept + (first + r) * F + f, positive);
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
    Scratch<pair> packed_up(F * D / 2), packed_down(D * F / 2);
    Scratch<bf16> dy_block(BLOCK * D), slope(BLOCK * F), found(P * D), zeros(D);
    Scratch<pair> x_right(BLOCK / 2 * D), dy_left(BLOCK / 2 * D), slope_left(BLOCK / 2 * F), hidden_right(BLOCK / 2 * F);
    Scratch<float> dup_sum(F * D), ddown_sum(D * F), dgate(BLOCK * 16), dgate_row(P);
    std::fill_n(zeros.at, D, 0);
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
            const auto row_of = [&](const bf16* from) {
                return [=, &rows, &zeros](long r) { return r < count ? from + rows.token[first + r] * D : zeros.at; };
            };
            pack(row_of(x), whole, D, x_right);
            const auto row = row_of(dy);
            for (long r = 0; r < whole; r += 2) {
                const bf16 *even_row = row(r), *odd_row = row(r + 1);
                for (long d = 0; d < D; d += COLUMNS) {
                    const __m512i even = _mm512_loadu_si512(even_row + d), odd = _mm512_loadu_si512(odd_row + d);
                    _mm512_storeu_si512(dy_block + r * D + d, even);
                    _mm512_storeu_si512(dy_block + (r + 1) * D + d, odd);
                    put_left(dy_left, steps, r / 2, d, Words(even, odd));
                }
            }
            std::fill_n(dgate.at, whole * 16, 0.0f);
            __m512i even_slope = _mm512_setzero_si512(), even_hidden = even_slope;
            times(tiles, dy_block, whole, D, packed_down, F, [&](long r, long f, __m512 low, __m512 high) {
                __m512i slopes = _mm512_setzero_si512(), hiddens = slopes;
                if (r < count) {
                    const bf16* positive = kept + (first + r) * F + f;
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
                _mm512_storeu_si512(slope + r * F + f, slopes);
                if (r % 2 == 0) {
                    even_slope = slopes, even_hidden = hiddens;
                    return;
                }
                put_left(slope_left, steps, r / 2, f, Words(even_slope, slopes));
                const Words words(even_hidden, hiddens);
                pair* place = hidden_right + f * steps + r / 2 * COLUMNS;
                _mm512_store_si512(place, words.low);
                _mm512_store_si512(place + 16, words.high);
            });
            for (long r = 0; r < count; ++r)
                dgate_row[first + r] = _mm512_reduce_add_ps(_mm512_load_ps(dgate + r * 16));
            times(tiles, slope, whole, F, packed_up, D, [&](long r, long d, __m512 low, __m512 high) {
                if (r < count) _mm512_storeu_si512(found + (first + r) * D + d, joined(low, high));
            });
            slopes(tiles, slope_left, F, x_right, D, steps, first > start[e], dup_sum);
            slopes(tiles, dy_left, D, hidden_right, F, steps, first > start[e], ddown_sum);
        });
        for (long i = 0; i < F * D; i += 16) {
            narrow(dup + e * F * D + i, _mm512_load_ps(dup_sum + i));
            narrow(ddown + e * D * F + i, _mm512_load_ps(ddown_sum + i));
        }
    }
    for (long p = 0; p < P; ++p) dgates[p] = dgate_row[place[p]];
    join(found, token, place, P, N, D, dx);
}
