// A sum of residuals and its norm in one pass there and one back; AVX-512 with bf16 units, one thread.
//
// N rows, D their width (a multiple of 16). x, sum and their slopes are float32, y and h bfloat16.

#include <cmath>

#include "bfloat16.h"

// sum = x + y; h = sum * scale, scale[N] = 1 / sqrt(mean(sum^2) + epsilon).
extern "C" void added(const float* x, const bf16* y, float* sum, bf16* h, float* scale, long N, long D, float epsilon) {
    for (long n = 0; n < N; ++n, x += D, y += D, sum += D, h += D) {
        __m512 squares = _mm512_setzero_ps();
        for (long c = 0; c < D; c += 16) {
            const __m512 both = _mm512_add_ps(_mm512_loadu_ps(x + c), wide(y + c));
            squares = _mm512_fmadd_ps(both, both, squares);
            _mm512_storeu_ps(sum + c, both);
        }
        scale[n] = 1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / D + epsilon);
        for (long c = 0; c < D; c += 16)
            narrow(h + c, _mm512_mul_ps(_mm512_loadu_ps(sum + c), _mm512_set1_ps(scale[n])));
    }
}

// dx = dsum + scale * (dh - h * mean(dh * h)), and the same as dy; dsum may be null, for 0.
extern "C" void added_backward(const float* dsum, const bf16* dh, const bf16* h, const float* scale, float* dx, bf16* dy,
                               long N, long D) {
    for (long n = 0; n < N; ++n) {
        const long row = n * D;
        __m512 both = _mm512_setzero_ps();
        for (long c = row; c < row + D; c += 16) both = _mm512_fmadd_ps(wide(dh + c), wide(h + c), both);
        const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(both) / D), factor = _mm512_set1_ps(scale[n]);
        for (long c = row; c < row + D; c += 16) {
            const __m512 off = _mm512_fnmadd_ps(wide(h + c), mean, wide(dh + c));
            const __m512 old = dsum ? _mm512_loadu_ps(dsum + c) : _mm512_setzero_ps();
            const __m512 found = _mm512_fmadd_ps(off, factor, old);
            _mm512_storeu_ps(dx + c, found);
            narrow(dy + c, found);
        }
    }
}
