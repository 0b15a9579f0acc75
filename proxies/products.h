// The innermost loop of products in bfloat16: 8 rows by 32 columns at a time, in the registers of AVX-512.

#pragma once

#include "bfloat16.h"

namespace {

constexpr long ROWS = 8, COLUMNS = 32;

// each(r, low, high) gets row r of the tile: the sum over s of left[r * row + s * step] . right[s * width + c].
template <class Each>
inline void tile(const pair* left, long row, long step, const pair* right, long width, long steps, Each each) {
    __m512 low[ROWS], high[ROWS];
#pragma GCC unroll 8
    for (long r = 0; r < ROWS; ++r) low[r] = high[r] = _mm512_setzero_ps();
    for (long s = 0; s < steps; ++s) {
        const __m512bh first = (__m512bh)_mm512_loadu_si512(right + s * width);
        const __m512bh second = (__m512bh)_mm512_loadu_si512(right + s * width + 16);
#pragma GCC unroll 8
        for (long r = 0; r < ROWS; ++r) {
            const __m512bh x = (__m512bh)_mm512_set1_epi32(left[r * row + s * step]);
            low[r] = _mm512_dpbf16_ps(low[r], x, first);
            high[r] = _mm512_dpbf16_ps(high[r], x, second);
        }
    }
#pragma GCC unroll 8
    for (long r = 0; r < ROWS; ++r) each(r, low[r], high[r]);
}

// The same to memory of `to_width` columns a row, added to what is there or in its place.
inline void tile_to(float* to, long to_width, bool adds, const pair* left, long row, long step, const pair* right,
                    long width, long steps) {
    tile(left, row, step, right, width, steps, [=](long r, __m512 low, __m512 high) {
        float* place = to + r * to_width;
        if (adds) {
            low = _mm512_add_ps(low, _mm512_loadu_ps(place));
            high = _mm512_add_ps(high, _mm512_loadu_ps(place + 16));
        }
        _mm512_storeu_ps(place, low);
        _mm512_storeu_ps(place + 16, high);
    });
}

}  // namespace
