// Causal attention with rotary positions in bfloat16, one thread: a head at a time, whose scores never leave the cache.
//
// B batch, T sequence, H heads, K head width (a multiple of 32), P = T rounded up to 32: rows beyond T are zero.
// Products multiply pairs of bfloat16 that stand in one 32-bit word and add in float32, ROWS by 32 columns at a time;
// where a sum is over queries, what stands at the left is by columns.
// Scores are in powers of two: queries are scaled by log2(e) / sqrt(K), and weights are 2^(score - their log-sum).

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "products.h"

namespace {

constexpr long BLOCK = 128;  // queries whose weights are kept for the slopes of keys and values: they stay in the cache
constexpr float LOG2E = 1.44269504f, LN2 = 0.69314718f;

template <class T>
T* scratch(std::vector<T>& kept, long size) {
    kept.assign(size + 64 / sizeof(T), T(0));
    return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(kept.data()) + 63) & ~uintptr_t(63));
}

// Words [rows][words] to [words][rows]; both are multiples of 16.
void transpose(const void* from, long rows, long words, void* to) {
    for (long r = 0; r < rows; r += 16)
        for (long w = 0; w < words; w += 16)
            transpose((const pair*)from + r * words + w, words, (pair*)to + w * rows + r, rows);
}

// Rows two by two, entries of both in one word: [rows][width] to [rows / 2][width].
void interleave(const bf16* from, long rows, long width, pair* to) {
    for (long r = 0; r < rows; r += 2)
        for (long c = 0; c < width; c += 16)
            _mm512_storeu_si512(to + r / 2 * width + c,
                                paired(half(from + r * width + c), half(from + (r + 1) * width + c)));
}

// One head of queries, keys or values: [T] rows of K, `stride` apart.
struct Head {
    long T, K, stride;
    const bf16 *cos, *sin;

    void copy(const bf16* from, bf16* to) const {
        for (long t = 0; t < T; ++t) std::copy_n(from + t * stride, K, to + t * K);
    }

    // Turned by the angles of the positions, and scaled.
    void turn(const bf16* from, bf16* to, float scale) const {
        for (long t = 0; t < T; ++t)
            for (long c = 0; c < K; c += 16) {
                const long other = (c + K / 2) % K;
                const __m512 x = _mm512_mul_ps(wide(from + t * stride + c), wide(cos + t * K + c));
                const __m512 y = _mm512_fmadd_ps(wide(from + t * stride + other), wide(sin + t * K + c), x);
                narrow(to + t * K + c, _mm512_mul_ps(y, _mm512_set1_ps(scale)));
            }
    }

    // Row t of float32 slopes turned back, scaled, and written where the row belongs.
    void turn_back(const float* from, bf16* to, long t, float scale) const {
        for (long c = 0; c < K; c += 16) {
            const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(from + c), wide(cos + t * K + c));
            const __m512 other = _mm512_loadu_ps(from + (c + K / 2) % K);
            const __m512 y = _mm512_fnmadd_ps(other, wide(sin + t * K + c), x);
            narrow(to + t * stride + c, _mm512_mul_ps(y, _mm512_set1_ps(scale)));
        }
    }
};

// Which of the 16 keys from `key` on a query sees.
inline __mmask16 seen(long query, long key) {
    return query - key >= 15 ? 0xFFFF : query < key ? 0 : (1u << (query - key + 1)) - 1;
}

// Weights of a query from its scores [width], in place: 2^(score - top) where it looks, else 0. `each` gets them too.
template <class Each>
inline void weigh(float* scores, long query, long width, float top, Each each) {
    for (long n = 0; n < width; n += 16) {
        const __mmask16 sees = seen(query, n);
        __m512 weight = _mm512_setzero_ps();
        if (sees) {
            const __m512 below = _mm512_sub_ps(_mm512_loadu_ps(scores + n), _mm512_set1_ps(top));
            weight = _mm512_maskz_mov_ps(sees, power_of_two(below));
        }
        _mm512_storeu_ps(scores + n, weight);
        each(n, weight);
    }
}

inline float largest(const float* scores, long query) {
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (long n = 0; n <= query; n += 16)
        most = _mm512_mask_max_ps(most, seen(query, n), most, _mm512_loadu_ps(scores + n));
    return _mm512_reduce_max_ps(most);
}

// Rows of 8 queries' float32 [width], two by two in one word: [8][P] to [4][P].
inline void interleave(const float* from, long width, long P, pair* to) {
    for (long r = 0; r < ROWS; r += 2)
        for (long n = 0; n < width; n += 16) {
            const float* row = from + r * P + n;
            _mm512_storeu_si512(to + r / 2 * P + n, paired(_mm512_loadu_ps(row), _mm512_loadu_ps(row + P)));
        }
}

}  // namespace

// qkv: [B][T][3][H][K]; cos, sin: [T][K]; y: [B][T][H][K]; sums: [B][H][T], the log2 of every query's sum of weights.
extern "C" void attention(const bf16* qkv, const bf16* cos, const bf16* sin, bf16* y, float* sums, long B, long T,
                          long H, long K) {
    static thread_local std::vector<bf16> kept[4];
    static thread_local std::vector<pair> packed[2];
    static thread_local std::vector<float> found[2];
    const long P = (T + 31) / 32 * 32;
    const Head head{T, K, 3 * H * K, cos, sin};
    const Tiles tiles;
    bf16 *q = scratch(kept[0], P * K), *k = scratch(kept[1], P * K), *v = scratch(kept[2], P * K);
    bf16* weights = scratch(kept[3], ROWS * P);
    pair *keys = scratch(packed[0], P * K / 2), *values = scratch(packed[1], P * K / 2);
    float *scores = scratch(found[0], ROWS * P), *out = scratch(found[1], ROWS * K);
    for (long b = 0; b < B; ++b)
        for (long h = 0; h < H; ++h) {
            const bf16* from = qkv + b * T * head.stride + h * K;
            head.turn(from, q, LOG2E / std::sqrt((float)K));
            head.turn(from + H * K, k, 1.0f);
            head.copy(from + 2 * H * K, v);
            transpose(k, P, K / 2, keys);
            interleave(v, P, K, values);
            for (long first = 0; first < T; first += ROWS) {
                const long width = std::min(P, (first + ROWS + 31) / 32 * 32);
                for (long n = 0; n < width; n += COLUMNS)
                    product(tiles, scores + n, P, false, (const pair*)(q + first * K), K / 2, keys + n, P, K / 2);
                float totals[ROWS];
                for (long r = 0; r < ROWS; ++r) {
                    const float top = largest(scores + r * P, first + r);
                    __m512 sum = _mm512_setzero_ps();
                    weigh(scores + r * P, first + r, width, top, [&](long n, __m512 weight) {
                        sum = _mm512_add_ps(sum, weight);
                        narrow(weights + r * P + n, weight);
                    });
                    totals[r] = _mm512_reduce_add_ps(sum);
                    if (first + r < T) sums[(b * H + h) * T + first + r] = top + std::log2(totals[r]);
                }
                for (long c = 0; c < K; c += COLUMNS)
                    product(tiles, out + c, K, false, (const pair*)weights, P / 2, values + c, K, width / 2);
                for (long r = 0; r < std::min(ROWS, T - first); ++r)
                    for (long c = 0; c < K; c += 16) {
                        const __m512 mean = _mm512_div_ps(_mm512_loadu_ps(out + r * K + c), _mm512_set1_ps(totals[r]));
                        narrow(y + ((b * T + first + r) * H + h) * K + c, mean);
                    }
            }
        }
}

// dy: [B][T][H][K], the slopes in y; dqkv: as qkv, the slopes in it.
extern "C" void attention_backward(const bf16* qkv, const bf16* cos, const bf16* sin, const float* sums,
                                   const bf16* dy, bf16* dqkv, long B, long T, long H, long K) {
    static thread_local std::vector<bf16> kept[5];
    static thread_local std::vector<pair> packed[8];
    static thread_local std::vector<float> summed[6];
    const long P = (T + 31) / 32 * 32;
    const Head head{T, K, 3 * H * K, cos, sin}, slopes{T, K, H * K, cos, sin};
    const Tiles tiles;
    bf16 *q = scratch(kept[0], P * K), *k = scratch(kept[1], P * K), *v = scratch(kept[2], P * K);
    bf16 *g = scratch(kept[3], P * K), *dscores = scratch(kept[4], ROWS * P);
    pair *keys = scratch(packed[0], P * K / 2), *values = scratch(packed[1], P * K / 2);
    pair *pairs = scratch(packed[2], P * K / 2), *k_pairs = scratch(packed[3], P * K / 2);
    pair *q_columns = scratch(packed[4], P * K / 2), *g_columns = scratch(packed[7], P * K / 2);
    pair *weight_pairs = scratch(packed[5], BLOCK / 2 * P), *dscore_pairs = scratch(packed[6], BLOCK / 2 * P);
    float *scores = scratch(summed[0], ROWS * P), *dweights = scratch(summed[1], ROWS * P);
    float *dq = scratch(summed[2], ROWS * K), *rows = scratch(summed[5], P * K);
    float *dk = scratch(summed[3], P * K), *dv = scratch(summed[4], P * K);  // [K][P]
    const float scale = 1.0f / std::sqrt((float)K);
    for (long b = 0; b < B; ++b)
        for (long h = 0; h < H; ++h) {
            const bf16* from = qkv + b * T * head.stride + h * K;
            bf16* to = dqkv + b * T * head.stride + h * K;
            head.turn(from, q, LOG2E * scale);
            head.turn(from + H * K, k, 1.0f);
            head.copy(from + 2 * H * K, v);
            slopes.copy(dy + b * T * slopes.stride + h * K, g);
            transpose(k, P, K / 2, keys);
            transpose(v, P, K / 2, values);
            interleave(k, P, K, k_pairs);
            interleave(q, P, K, pairs);
            transpose(pairs, P / 2, K, q_columns);
            interleave(g, P, K, pairs);
            transpose(pairs, P / 2, K, g_columns);
            std::fill_n(dk, P * K, 0.0f);
            std::fill_n(dv, P * K, 0.0f);
            for (long start = 0; start < P; start += BLOCK) {
                const long stop = std::min(start + BLOCK, P);
                for (long first = start; first < stop; first += ROWS) {
                    const long width = std::min(P, (first + ROWS + 31) / 32 * 32);
                    for (long n = 0; n < width; n += COLUMNS) {
                        product(tiles, scores + n, P, false, (const pair*)(q + first * K), K / 2, keys + n, P, K / 2);
                        product(tiles, dweights + n, P, false, (const pair*)(g + first * K), K / 2, values + n, P,
                                K / 2);
                    }
                    for (long r = 0; r < ROWS; ++r) {
                        float* slope = dweights + r * P;
                        const float sum = first + r < T ? sums[(b * H + h) * T + first + r] : 0.0f;
                        __m512 both = _mm512_setzero_ps();
                        weigh(scores + r * P, first + r, width, sum, [&](long n, __m512 weight) {
                            both = _mm512_fmadd_ps(weight, _mm512_loadu_ps(slope + n), both);
                        });
                        const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(both));
                        for (long n = 0; n < width; n += 16) {
                            const __m512 above = _mm512_sub_ps(_mm512_loadu_ps(slope + n), mean);
                            const __m512 found = _mm512_mul_ps(_mm512_loadu_ps(scores + r * P + n), above);
                            _mm512_storeu_ps(slope + n, found);
                            narrow(dscores + r * P + n, found);
                        }
                    }
                    interleave(scores, width, P, weight_pairs + (first - start) / 2 * P);
                    interleave(dweights, width, P, dscore_pairs + (first - start) / 2 * P);
                    for (long c = 0; c < K; c += COLUMNS)
                        product(tiles, dq + c, K, false, (const pair*)dscores, P / 2, k_pairs + c, K, width / 2);
                    for (long r = 0; r < std::min(ROWS, T - first); ++r)
                        head.turn_back(dq + r * K, to, first + r, scale);
                }
                for (long n = 0; n < stop; n += COLUMNS) {
                    const long query = std::max(n, start), steps = (stop - query) / 2;  // earlier ones do not look at n
                    const long place = (query - start) / 2 * P + n;
                    for (long c = 0; c < K; c += ROWS) {
                        const long column = c * P / 2 + query / 2, to_key = c * P + n;
                        product(tiles, dv + to_key, P, true, g_columns + column, P / 2, weight_pairs + place, P, steps);
                        product(tiles, dk + to_key, P, true, q_columns + column, P / 2, dscore_pairs + place, P, steps);
                    }
                }
            }
            transpose(dk, K, P, rows);
            for (long t = 0; t < T; ++t) head.turn_back(rows + t * K, to + H * K, t, LN2);
            transpose(dv, K, P, rows);
            for (long t = 0; t < T; ++t)
                for (long c = 0; c < K; c += 16)
                    narrow(to + 2 * H * K + t * head.stride + c, _mm512_loadu_ps(rows + t * K + c));
        }
}
