// Rows of models or experts, a block of them at a time, and their products with a packed matrix.

#pragma once

#include "products.h"

namespace {

constexpr long BLOCK = 256;  // rows at a time: packed, and with the matrices of an expert, they fit a core's own cache

// What rows are worked on in: sixteen words of two rows each are what AMX takes at a time.
#ifdef __AMX_BF16__
constexpr long WHOLE = 32;
#else
constexpr long WHOLE = ROWS;
#endif

inline long rounded(long rows) { return (rows + WHOLE - 1) / WHOLE * WHOLE; }

// Rows that stand one model's after another's, as many of each.
struct Standing {
    static constexpr bool GATED = false;

    long own;  // rows of a model

    long start(long model) const { return model * own; }

    // `count` rows of a block, and zeros up to a whole one.
    const bf16* block(const bf16* from, long first, long count, long D, bf16* room) const {
        if (count == rounded(count)) return from + first * D;
        std::copy_n(from + first * D, count * D, room);
        std::fill(room + count * D, room + rounded(count) * D, 0);
        return room;
    }
};

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

// each(first row, rows) of net e: as many blocks as needed, of about the same size.
template <class Rows, class Each>
void blocks(const Rows& rows, long e, Each each) {
    const long first = rows.start(e), count = rows.start(e + 1) - first;
    if (!count) return;
    const long wanted = (count + BLOCK - 1) / BLOCK;
    const long size = rounded((count + wanted - 1) / wanted);
    for (long done = 0; done < count; done += size) each(first + done, std::min(size, count - done));
}

}  // namespace
