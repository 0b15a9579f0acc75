// Nets of squared ReLU in bfloat16, one thread: a block of a net's rows at a time goes through both matrices, there and
// back, and stays in the cache.
//
// D is their width, F the hidden one (both multiples of 32), E how many nets. up is E x F x D, down E x D x F. Rows stand
// in the order of nets; a class `Rows` tells where those of a net start, reads a block of them, and has their gates, if
// any. Products multiply pairs of bfloat16 that stand in one 32-bit word and add in float32, ROWS by 32 columns at a
// time. What stands at their right is packed in panels of 32 columns, so that a panel is one stretch of the closest cache.

#pragma once

#include "slopes.h"

namespace {

// found: gate * down(relu(up(x))^2) of every row; kept: relu(up(x)) for the way back, in the order it is found in, which
// is a block of rows after the other, and of a block 32 hidden units.
template <class Rows>
void forward(const Rows& rows, const bf16* x, const bf16* up, const bf16* down, bf16* kept, bf16* found, long D, long F,
             long E) {
    const Tiles tiles;
    Scratch<pair> packed_up(F * D / 2), packed_down(D * F / 2);
    Scratch<bf16> room(BLOCK * D), hidden(BLOCK * F);
    for (long e = 0; e < E; ++e) {
        if (rows.start(e) == rows.start(e + 1)) continue;
        pack_transposed(up + e * F * D, F, D, packed_up);
        pack_transposed(down + e * D * F, D, F, packed_down);
        blocks(rows, e, [&](long first, long count) {
            const long whole = rounded(count);
            const bf16* x_block = rows.block(x, first, count, D, room);
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
                if constexpr (Rows::GATED) {
                    const __m512 gate = _mm512_set1_ps(rows.gate[first + r]);
                    low = _mm512_mul_ps(low, gate), high = _mm512_mul_ps(high, gate);
                }
                _mm512_storeu_si512(found + (first + r) * D + d, joined(low, high));
            });
        });
    }
}

// Slopes of what `forward` reads, of x as `found`, from dy; those of gates row by row, where there are any.
template <class Rows>
void backward(const Rows& rows, const bf16* dy, const bf16* x, const bf16* up, const bf16* down, const bf16* kept,
              bf16* found, float* dgate_row, bf16* dup, bf16* ddown, long D, long F, long E) {
    const Tiles tiles;
    Scratch<pair> packed_up(F * D / 2), packed_down(D * F / 2), x_left(BLOCK / 2 * D), dy_left(BLOCK / 2 * D);
    Scratch<pair> slope_right(BLOCK / 2 * GROUP), hidden_right(BLOCK / 2 * GROUP);
    Scratch<bf16> x_room(BLOCK * D), dy_room(BLOCK * D), slope(BLOCK * F);
    Scratch<float> dup_sum(D * F), ddown_sum(D * F), dgate(BLOCK * 16);
    for (long e = 0; e < E; ++e) {
        if (rows.start(e) == rows.start(e + 1)) {
            std::fill_n(dup + e * F * D, F * D, 0);
            std::fill_n(ddown + e * D * F, D * F, 0);
            continue;
        }
        const bf16 *own_up = up + e * F * D, *own_down = down + e * D * F;
        pack([&](long f) { return own_up + f * D; }, F, D, packed_up);
        pack([&](long d) { return own_down + d * F; }, D, F, packed_down);
        blocks(rows, e, [&](long first, long count) {
            const long whole = rounded(count), steps = whole / 2;
            const bool adds = first > rows.start(e);
            const bf16* dy_block = rows.block(dy, first, count, D, dy_room);
            pack_left(rows.block(x, first, count, D, x_room), whole, D, x_left);
            pack_left(dy_block, whole, D, dy_left);
            if (Rows::GATED) std::fill_n(dgate.at, whole * 16, 0.0f);
            for (long group = 0; group < F; group += GROUP) {
                const long width = std::min(GROUP, F - group);
                const bf16* positives = kept + first * F + group * count;
                ByTwo slope_pairs, hidden_pairs;
                const auto put_slopes = [&](long r, long f, __m512 low, __m512 high) {
                    __m512i slopes = _mm512_setzero_si512(), hiddens = slopes;
                    if (r < count) {
                        const bf16* positive = positives + f * count + r * COLUMNS;
                        __m512 a = wide(positive), b = wide(positive + 16);
                        __m512 twice_a = _mm512_add_ps(a, a), twice_b = _mm512_add_ps(b, b);
                        __m512 square_a = _mm512_mul_ps(a, a), square_b = _mm512_mul_ps(b, b);
                        if constexpr (Rows::GATED) {
                            __m512 sum = _mm512_load_ps(dgate + r * 16);
                            sum = _mm512_fmadd_ps(square_b, high, _mm512_fmadd_ps(square_a, low, sum));
                            _mm512_store_ps(dgate + r * 16, sum);
                            const __m512 gate = _mm512_set1_ps(rows.gate[first + r]);
                            twice_a = _mm512_mul_ps(twice_a, gate), twice_b = _mm512_mul_ps(twice_b, gate);
                            square_a = _mm512_mul_ps(square_a, gate), square_b = _mm512_mul_ps(square_b, gate);
                        }
                        slopes = joined(_mm512_mul_ps(twice_a, low), _mm512_mul_ps(twice_b, high));
                        hiddens = joined(square_a, square_b);
                    }
                    _mm512_storeu_si512(slope + r * F + group + f, slopes);
                    const long place = f * steps + r / 2 * COLUMNS;
                    slope_pairs.take(r, slopes, slope_right + place);
                    hidden_pairs.take(r, hiddens, hidden_right + place);
                };
                times(tiles, dy_block, whole, D, packed_down + group * D / 2, width, put_slopes);
                slopes(tiles, x_left, D, slope_right, width, steps, adds, dup_sum + group * D);
                slopes(tiles, dy_left, D, hidden_right, width, steps, adds, ddown_sum + group * D);
            }
            if (Rows::GATED)
                for (long r = 0; r < count; ++r)
                    dgate_row[first + r] = _mm512_reduce_add_ps(_mm512_load_ps(dgate + r * 16));
            times(tiles, slope, whole, F, packed_up, D, [&](long r, long d, __m512 low, __m512 high) {
                if (r < count) _mm512_storeu_si512(found + (first + r) * D + d, joined(low, high));
            });
        });
        narrow_columns(dup_sum, D, F, dup + e * F * D);
        narrow_rows(ddown_sum, D, F, ddown + e * D * F);
    }
}

}  // namespace
