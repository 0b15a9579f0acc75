// relu(x)^2 and its slope in one pass there and one back; bfloat16, N of them.

#include "bfloat16.h"

extern "C" void squared_relu(const bf16* x, bf16* y, long N) {
    for (long n = 0; n < N; n += 16) {
        const __m512 positive = _mm512_max_ps(_mm512_setzero_ps(), wide(x + n, before(n, N)));  // NaN stays NaN
        narrow(y + n, _mm512_mul_ps(positive, positive), before(n, N));
    }
}

// dx = 2 relu(x) dy
extern "C" void squared_relu_backward(const bf16* x, const bf16* dy, bf16* dx, long N) {
    for (long n = 0; n < N; n += 16) {
        const __m512 positive = _mm512_max_ps(_mm512_setzero_ps(), wide(x + n, before(n, N)));
        const __m512 slope = _mm512_add_ps(positive, positive);
        narrow(dx + n, _mm512_mul_ps(slope, wide(dy + n, before(n, N))), before(n, N));
    }
}
