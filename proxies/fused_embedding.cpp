// Sums of rows of a table and their norm in one pass there and one back; AVX-512 with bf16 units, one thread.
//
// N sums of J rows each of a table [R][D], D a multiple of 16. Sums, table and their slopes are float32, h bfloat16.

#include <algorithm>

#include "norm.h"

// x[N] = sum of the rows; h = x * scale[N]
extern "C" void embedded(const int64_t* rows, const float* table, float* x, bf16* h, float* scale, long N, long J,
                         long D, long, float epsilon) {
    for (long n = 0; n < N; ++n, rows += J, x += D, h += D) {
        __m512 squares = _mm512_setzero_ps();
        for (long c = 0; c < D; c += 16) {
            __m512 sum = _mm512_setzero_ps();
            for (long j = 0; j < J; ++j) sum = _mm512_add_ps(sum, _mm512_loadu_ps(table + rows[j] * D + c));
            squares = _mm512_fmadd_ps(sum, sum, squares);
            _mm512_storeu_ps(x + c, sum);
        }
        scale[n] = norm_row(x, squares, h, D, epsilon);
    }
}

// The slope of the table; dx may be null, for 0.
extern "C" void embedded_backward(const float* dx, const bf16* dh, const bf16* h, const float* scale,
                                  const int64_t* rows, float* dtable, long N, long J, long D, long R) {
    std::fill(dtable, dtable + R * D, 0.0f);
    for (long at = 0; at < N * D; at += D, rows += J)
        norm_row_backward(dx ? dx + at : nullptr, dh + at, h + at, *scale++, D, [&](long c, __m512 slope) {
            for (long j = 0; j < J; ++j) {
                float* place = dtable + rows[j] * D + c;
                _mm512_storeu_ps(place, _mm512_add_ps(_mm512_loadu_ps(place), slope));
            }
        });
}
