// Sums over rows, two to a word, which is what the slopes of a matrix are: what stands at the left is packed by columns.

#pragma once

#include "rows.h"

namespace {

constexpr long GROUP = 128;  // columns at the right that are summed up as soon as they are found

// Packs [count][D] for the left of `slopes`: words of two rows by columns for AMX, else in panels of ROWS columns.
void pack_left(const bf16* rows, long count, long D, pair* to) {
    const long steps = count / 2;
    for (long d = 0; d < D; d += COLUMNS)
        for (long s = 0; s < steps; s += WHOLE / 2) {
            alignas(64) pair words[WHOLE / 2][COLUMNS];
            for (long i = 0; i < WHOLE / 2; ++i) {
                const bf16* even = rows + 2 * (s + i) * D + d;
                put(words[i], Words(_mm512_loadu_si512(even), _mm512_loadu_si512(even + D)));
            }
#ifdef __AMX_BF16__
            for (long c = 0; c < COLUMNS; c += 16) transpose(words[0] + c, COLUMNS, to + (d + c) * steps + s, steps);
#else
            for (long i = 0; i < WHOLE / 2; ++i)
                for (long c = 0; c < COLUMNS; c += ROWS)
                    std::copy_n(words[i] + c, ROWS, to + (d + c) * steps + (s + i) * ROWS);
#endif
        }
}

// to (+)= left' right: sums over `steps` pairs of rows, [height][width] in panels of 32 columns, as right is; left by
// pack_left.
void slopes(const Tiles& tiles, const pair* left, long height, const pair* right, long width, long steps, bool adds,
            float* to) {
    for (long c = 0; c < width; c += COLUMNS, right += COLUMNS * steps)
        for (long r = 0; r < height; r += WHOLE, to += WHOLE * COLUMNS) {
            const pair* rows = left + r * steps;
#ifdef __AMX_BF16__
            if (tiles.lent) {
                square(to, COLUMNS, adds, rows, steps, right, steps, [](long) {});
                continue;
            }
            for (long i = 0; i < WHOLE; i += ROWS)
                tile_to(to + i * COLUMNS, COLUMNS, adds, rows + i * steps, steps, 1, right, COLUMNS, steps);
#else
            tile_to(to, COLUMNS, adds, rows, 1, ROWS, right, COLUMNS, steps);
#endif
        }
}

// [height][width] in panels of 32 columns to rows in bfloat16.
void narrow_rows(const float* from, long height, long width, bf16* to) {
    for (long c = 0; c < width; c += COLUMNS)
        for (long r = 0; r < height; ++r, from += COLUMNS)
            _mm512_storeu_si512(to + r * width + c, joined(_mm512_load_ps(from), _mm512_load_ps(from + 16)));
}

// The same to rows of the transpose.
void narrow_columns(const float* from, long height, long width, bf16* to) {
    alignas(64) pair turned[16][16];
    for (long c = 0; c < width; c += COLUMNS)
        for (long r = 0; r < height; r += 16, from += 16 * COLUMNS)
            for (long h = 0; h < COLUMNS; h += 16) {
                transpose((const pair*)from + h, COLUMNS, turned[0], 16);
                for (long i = 0; i < 16; ++i)
                    narrow(to + (c + h + i) * height + r, _mm512_load_ps((const float*)turned[i]));
            }
}

}  // namespace
