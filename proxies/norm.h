// A row's norm, there and back, of D numbers (a multiple of 16): h = x * scale, scale = 1 / sqrt(mean(x^2) + epsilon).

#pragma once

#include <cmath>

#include "bfloat16.h"

namespace {

// Writes h and returns the scale; `squares` is the sum of the squares of x, in sixteen parts.
inline float norm_row(const float* x, __m512 squares, bf16* h, long D, float epsilon) {
    const float scale = 1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / D + epsilon);
    for (long c = 0; c < D; c += 16) narrow(h + c, _mm512_mul_ps(_mm512_loadu_ps(x + c), _mm512_set1_ps(scale)));
    return scale;
}

// Calls take(c, slope of x[c .. c + 15]) for dx = dsum + scale * (dh - h * mean(dh * h)); dsum may be null, for 0.
template <typename Take>
inline void norm_row_backward(const float* dsum, const bf16* dh, const bf16* h, float scale, long D, Take take) {
    __m512 both = _mm512_setzero_ps();
    for (long c = 0; c < D; c += 16) both = _mm512_fmadd_ps(wide(dh + c), wide(h + c), both);
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(both) / D);
    for (long c = 0; c < D; c += 16) {
        const __m512 off = _mm512_fnmadd_ps(wide(h + c), mean, wide(dh + c));
        const __m512 old = dsum ? _mm512_loadu_ps(dsum + c) : _mm512_setzero_ps();
        take(c, _mm512_fmadd_ps(off, _mm512_set1_ps(scale), old));
    }
}

}  // namespace
