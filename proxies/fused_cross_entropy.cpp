// Cross entropy of bfloat16 logits [N][V] against targets [N], in two passes over a row there and one back.

#include <cmath>
#include <limits>

#include "bfloat16.h"

namespace {

constexpr float LOG2E = 1.44269504f, INFINITE = std::numeric_limits<float>::infinity();

inline float single(bf16 x) { return _mm512_cvtss_f32(wide(_mm256_set1_epi16(x))); }

}  // namespace

// loss = min(sum - logit of the target, most); sums[N] are the logarithms of the sums of exponentials.
extern "C" void cross_entropy(const bf16* logits, const int64_t* targets, float* losses, float* sums, long N, long V,
                              float most) {
    const __m512 scale = _mm512_set1_ps(LOG2E);
    for (long n = 0; n < N; ++n, logits += V) {
        __m512 tops = _mm512_set1_ps(-INFINITE), total = _mm512_setzero_ps();
        for (long v = 0; v < V; v += 16)
            tops = _mm512_mask_max_ps(tops, before(v, V), tops, wide(logits + v, before(v, V)));
        const float top = _mm512_reduce_max_ps(tops);
        for (long v = 0; v < V; v += 16) {
            const __m512 below = _mm512_sub_ps(wide(logits + v, before(v, V)), _mm512_set1_ps(top));
            total = _mm512_mask_add_ps(total, before(v, V), total, power_of_two(_mm512_mul_ps(below, scale)));
        }
        sums[n] = top + std::log(_mm512_reduce_add_ps(total));
        const float loss = sums[n] - single(logits[targets[n]]);
        losses[n] = loss > most ? most : loss;  // NaN stays NaN
    }
}

// dlogits = slope * (exp(logits - sum) - 1 at the target)
extern "C" void cross_entropy_backward(const bf16* logits, const int64_t* targets, const float* sums,
                                       const float* slopes, bf16* dlogits, long N, long V) {
    const __m512 scale = _mm512_set1_ps(LOG2E);
    for (long n = 0; n < N; ++n, logits += V, dlogits += V) {
        const __m512 sum = _mm512_set1_ps(sums[n]), slope = _mm512_set1_ps(slopes[n]);
        for (long v = 0; v < V; v += 16) {
            const __m512 below = _mm512_sub_ps(wide(logits + v, before(v, V)), sum);
            const __m512 share = power_of_two(_mm512_mul_ps(below, scale));
            const __mmask16 is_target = targets[n] >= v && targets[n] < v + 16 ? 1u << (targets[n] - v) : 0;
            const __m512 off = _mm512_mask_sub_ps(share, is_target, share, _mm512_set1_ps(1.0f));
            narrow(dlogits + v, _mm512_mul_ps(off, slope), before(v, V));
        }
    }
}
