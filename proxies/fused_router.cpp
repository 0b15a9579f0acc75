// Which experts a token goes to and by what gates, there and back, from its row in bfloat16; AVX-512 with bf16 units,
// one thread.
//
// M models of N tokens each, D model width (a multiple of 16), E experts, K of them a token. x is bfloat16, all else
// float32 but the numbers of experts. Scores are a softmax or sigmoids of the logits; the K largest, of sigmoids with a
// bias each, are chosen, and their scores are the gates, divided by their sum where they are to be normalized.

#include <algorithm>
#include <cmath>
#include <vector>

#include "bfloat16.h"

namespace {

constexpr long LANES = 16;

// logits[R][E] = x weights', by `row`, room for R rows in float32.
template <int R>
void multiply(const bf16* x, const float* weights, float* row, float* logits, long D, long E) {
    for (long d = 0; d < R * D; d += LANES) _mm512_storeu_ps(row + d, wide(x + d));
    for (long e = 0; e < E; ++e) {
        __m512 sums[R];
#pragma GCC unroll 4
        for (long r = 0; r < R; ++r) sums[r] = _mm512_setzero_ps();
        for (long d = 0; d < D; d += LANES) {
            const __m512 weight = _mm512_loadu_ps(weights + e * D + d);
#pragma GCC unroll 4
            for (long r = 0; r < R; ++r) sums[r] = _mm512_fmadd_ps(_mm512_loadu_ps(row + r * D + d), weight, sums[r]);
        }
#pragma GCC unroll 4
        for (long r = 0; r < R; ++r) logits[r * E + e] = _mm512_reduce_add_ps(sums[r]);
    }
}

// The slopes in R rows of x and, added up, in the weights, from those in the rows' logits and, unless null, those in the
// rows from elsewhere.
template <int R>
void multiply_back(const bf16* after, const float* dlogits, const bf16* x, const float* weights, bf16* dx,
                   float* dweights, long D, long E) {
    for (long d = 0; d < D; d += LANES) {
        __m512 rows[R], slopes[R];
#pragma GCC unroll 8
        for (long r = 0; r < R; ++r) {
            rows[r] = wide(x + r * D + d);
            slopes[r] = after ? wide(after + r * D + d) : _mm512_setzero_ps();
        }
        for (long e = 0; e < E; ++e) {
            const __m512 weight = _mm512_loadu_ps(weights + e * D + d);
            __m512 found = _mm512_loadu_ps(dweights + e * D + d);
#pragma GCC unroll 8
            for (long r = 0; r < R; ++r) {
                const __m512 slope = _mm512_set1_ps(dlogits[r * E + e]);
                slopes[r] = _mm512_fmadd_ps(slope, weight, slopes[r]);
                found = _mm512_fmadd_ps(slope, rows[r], found);
            }
            _mm512_storeu_ps(dweights + e * D + d, found);
        }
#pragma GCC unroll 8
        for (long r = 0; r < R; ++r) narrow(dx + r * D + d, slopes[r]);
    }
}

// Sixteen numbers at a time become what `each` makes of them.
template <class Each>
void map(float* numbers, long size, Each each) {
    for (long i = 0; i < size; i += LANES) {
        const __mmask16 here = size - i >= LANES ? 0xFFFF : (1u << (size - i)) - 1;
        _mm512_mask_storeu_ps(numbers + i, here, each(_mm512_maskz_loadu_ps(here, numbers + i)));
    }
}

void softmax(const float* logits, float* scores, long N, long E) {
    for (long n = 0; n < N; ++n) {
        const float most = *std::max_element(logits + n * E, logits + (n + 1) * E);
        for (long e = 0; e < E; ++e) scores[n * E + e] = (logits[n * E + e] - most) * LOG2E;
    }
    map(scores, N * E, power_of_two);
    for (long n = 0; n < N; ++n) {
        float sum = 0.0f;
        for (long e = 0; e < E; ++e) sum += scores[n * E + e];
        for (long e = 0; e < E; ++e) scores[n * E + e] /= sum;
    }
}

void sigmoid(const float* logits, float* scores, long N, long E) {
    std::copy_n(logits, N * E, scores);
    map(scores, N * E, [](__m512 x) {
        const __m512 small = power_of_two(_mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(-LOG2E)));
        const __m512 one = _mm512_set1_ps(1.0f), larger = _mm512_div_ps(one, _mm512_add_ps(one, small));
        const __mmask16 below = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
        return _mm512_mask_mul_ps(larger, below, larger, small);
    });
}

// Notes the K largest of score + bias, the largest first; of equal ones the first. `left` has room for E and a line: no
// branch depends on the scores, which no processor could foresee.
void choose(const float* scores, const float* biases, float* left, long* experts, long E, long K) {
    const __m512 taken = _mm512_set1_ps(NAN), least = _mm512_set1_ps(-INFINITY);  // NaN equals and exceeds nothing
    for (long e = 0; e < E; e += LANES) {
        const __m512 score = _mm512_mask_loadu_ps(taken, before(e, E), scores + e);
        const __m512 bias = biases ? _mm512_maskz_loadu_ps(before(e, E), biases + e) : _mm512_setzero_ps();
        _mm512_storeu_ps(left + e, _mm512_add_ps(score, bias));
    }
    for (long k = 0; k < K; ++k) {
        __m512 most = least;
        for (long e = 0; e < E; e += LANES) most = _mm512_max_ps(_mm512_loadu_ps(left + e), most);
        const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(most));
        long found = E;
        for (long e = 0; e < E && found == E; e += LANES) {
            const __m512 here = _mm512_loadu_ps(left + e);
            const unsigned equal = _mm512_cmp_ps_mask(here, top, _CMP_EQ_OQ);
            if (!equal) continue;
            found = e + __builtin_ctz(equal);
            _mm512_storeu_ps(left + e, _mm512_mask_mov_ps(here, equal & -equal, taken));
        }
        if (found == E)  // the scores are no numbers: some expert
            for (found = 0; std::count(experts, experts + k, found);) ++found;
        experts[k] = found;
    }
}

}  // namespace

// biases[M][E] may be null, for none.
extern "C" void route(const bf16* x, const float* weights, const float* biases, float* logits, float* scores,
                      float* gates, long* experts, long M, long N, long D, long E, long K, long sigmoids,
                      long normalized) {
    std::vector<float> rows(4 * D), left(E + LANES);
    for (long m = 0; m < M; ++m) {
        const long first = m * N * E;
        long done = 0;
        for (; done + 4 <= N; done += 4)
            multiply<4>(x + (m * N + done) * D, weights + m * E * D, rows.data(), logits + first + done * E, D, E);
        for (; done < N; ++done)
            multiply<1>(x + (m * N + done) * D, weights + m * E * D, rows.data(), logits + first + done * E, D, E);
        (sigmoids ? sigmoid : softmax)(logits + first, scores + first, N, E);
        const float* own = biases ? biases + m * E : nullptr;
        for (long n = m * N; n < (m + 1) * N; ++n) {
            choose(scores + n * E, own, left.data(), experts + n * K, E, K);
            float sum = 0.0f;
            for (long k = n * K; k < (n + 1) * K; ++k) sum += gates[k] = scores[n * E + experts[k]];
            for (long k = n * K; k < (n + 1) * K && normalized; ++k) gates[k] /= sum;
        }
    }
}

// The slopes of what `route` reads, from those in logits, scores and gates and those that experts found in x (after),
// each of which may be null, for 0.
extern "C" void route_backward(const bf16* after, const float* dlogits, const float* dscores, const float* dgates,
                               const bf16* x, const float* weights, const float* scores, const float* gates, const long* experts,
                               bf16* dx, float* dweights, long M, long N, long D, long E, long K, long sigmoids,
                               long normalized) {
    std::vector<float> found(N * E);
    std::fill_n(dweights, M * E * D, 0.0f);
    for (long m = 0; m < M; ++m) {
        for (long i = 0; i < N; ++i) {
            const long n = m * N + i;
            const float* score = scores + n * E;
            float* slope = &found[i * E];
            for (long e = 0; e < E; ++e) slope[e] = dscores ? dscores[n * E + e] : 0.0f;
            float mean = 0.0f, sum = normalized ? 0.0f : 1.0f;
            for (long k = n * K; k < (n + 1) * K && dgates && normalized; ++k)
                mean += dgates[k] * gates[k], sum += score[experts[k]];
            for (long k = n * K; k < (n + 1) * K && dgates; ++k) slope[experts[k]] += (dgates[k] - mean) / sum;
            float shared = 0.0f;
            for (long e = 0; e < E && !sigmoids; ++e) shared += score[e] * slope[e];
            for (long e = 0; e < E; ++e) {
                slope[e] = score[e] * (sigmoids ? (1.0f - score[e]) * slope[e] : slope[e] - shared);
                if (dlogits) slope[e] += dlogits[n * E + e];
            }
        }
        const long row = m * N * D;
        const float* own = weights + m * E * D;
        float* slope = dweights + m * E * D;
        long n = 0;
        for (; n + 8 <= N; n += 8) {
            const long at = row + n * D;
            multiply_back<8>(after ? after + at : nullptr, &found[n * E], x + at, own, dx + at, slope, D, E);
        }
        for (; n < N; ++n) {
            const long at = row + n * D;
            multiply_back<1>(after ? after + at : nullptr, &found[n * E], x + at, own, dx + at, slope, D, E);
        }
    }
}
