// A sum of residuals and its norm in one pass there and one back; AVX-512 with bf16 units, one thread.
//
// N rows, D their width (a multiple of 16). x, sum and their slopes are float32, y and h bfloat16.

#include <vector>

#include "norm.h"

// sum = x + y; h = sum * scale[N]. sum may be null, where nobody reads it.
extern "C" void added(const float* x, const bf16* y, float* sum, bf16* h, float* scale, long N, long D, float epsilon) {
    std::vector<float> room(sum ? 0 : D);
    for (long n = 0; n < N; ++n, x += D, y += D, h += D) {
        float* row = sum ? sum + n * D : room.data();
        __m512 squares = _mm512_setzero_ps();
        for (long c = 0; c < D; c += 16) {
            const __m512 both = _mm512_add_ps(_mm512_loadu_ps(x + c), wide(y + c));
            squares = _mm512_fmadd_ps(both, both, squares);
            _mm512_storeu_ps(row + c, both);
        }
        scale[n] = norm_row(row, squares, h, D, epsilon);
    }
}

// The slope of x, and the same as that of y; dsum may be null, for 0.
extern "C" void added_backward(const float* dsum, const bf16* dh, const bf16* h, const float* scale, float* dx, bf16* dy,
                               long N, long D) {
    for (long row = 0; row < N * D; row += D)
        norm_row_backward(dsum ? dsum + row : nullptr, dh + row, h + row, *scale++, D, [&](long c, __m512 slope) {
            _mm512_storeu_ps(dx + row + c, slope);
            narrow(dy + row + c, slope);
        });
}
