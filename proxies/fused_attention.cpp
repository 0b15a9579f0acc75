// Causal attention with rotary positions in bfloat16, one thread: a head at a time, whose scores never leave the cache.
//
// B batch, T sequence, H heads, K head width (a multiple of 32), P = T rounded up to 32: rows beyond T are zero.
// Products multiply pairs of bfloat16 that stand in one 32-bit word and add in float32, ROWS by 32 columns at a time;
// where a sum is over queries, what stands at the left is by columns.
// Scores are in powers of two: queries are scaled by log2(e) / sqrt(K), and weights are 2^(score - top) / total; a
// query's top, which is its largest score, and its total are kept for the way back.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "products.h"

namespace {

constexpr long BLOCK = 128;  // queries whose weights are kept for the slopes of keys and values: they stay in the cache

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

    // Rows stand so far apart that no processor guesses where the next one is.
    template <int hint>
    void ask_for(const bf16* row) const {
        constexpr long AHEAD = 16;
        for (long c = 0; c < K; c += 32) _mm_prefetch(row + AHEAD * stride + c, (_mm_hint)hint);
    }

    void copy(const bf16* from, bf16* to) const {
        for (long t = 0; t < T; ++t, from += stride, to += K) {
            ask_for<_MM_HINT_T0>(from);
            for (long c = 0; c < K; c += 32) _mm512_storeu_si512(to + c, _mm512_loadu_si512(from + c));
        }
    }

    // Turned by the angles of the positions, and scaled.
    void turn(const bf16* from, bf16* to, float scale) const {
        for (long t = 0; t < T; ++t) {
            ask_for<_MM_HINT_T0>(from + t * stride);
            for (long c = 0; c < K; c += 16) {
                const long other = (c + K / 2) % K;
                const __m512 x = _mm512_mul_ps(wide(from + t * stride + c), wide(cos + t * K + c));
                const __m512 y = _mm512_fmadd_ps(wide(from + t * stride + other), wide(sin + t * K + c), x);
                narrow(to + t * K + c, _mm512_mul_ps(y, _mm512_set1_ps(scale)));
            }
        }
    }

    // Row t of float32 slopes turned back, scaled, and written where the row belongs.
    void turn_back(const float* from, bf16* to, long t, float scale) const {
        ask_for<_MM_HINT_ET0>(to + t * stride);
        for (long c = 0; c < K; c += 16) {
            const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(from + c), wide(cos + t * K + c));
            const __m512 other = _mm512_loadu_ps(from + (c + K / 2) % K);
            const __m512 y = _mm512_fnmadd_ps(other, wide(sin + t * K + c), x);
            narrow(to + t * stride + c, _mm512_mul_ps(y, _mm512_set1_ps(scale)));
        }
    }
};

constexpr uint32_t ALL = ~0u;

// Which of the 32 keys from `last` on a query sees; it sees all keys before them, and `last` itself.
inline uint32_t seen(long query, long last) { return (2u << (query - last)) - 1; }

inline __mmask16 low(uint32_t which) { return (__mmask16)which; }

inline __mmask16 high(uint32_t which) { return (__mmask16)(which >> 16); }

// each(n, which): all keys that a query sees, 32 at a time.
template <class Each>
inline void keys_of(long query, long last, Each each) {
    for (long n = 0; n < last; n += COLUMNS) each(n, ALL);
    each(last, seen(query, last));
}

inline float largest(const float* scores, long query, long last) {
    __m512 even = _mm512_set1_ps(-INFINITY), odd = even;
    keys_of(query, last, [&](long n, uint32_t which) {
        even = _mm512_mask_max_ps(even, low(which), even, _mm512_loadu_ps(scores + n));
        odd = _mm512_mask_max_ps(odd, high(which), odd, _mm512_loadu_ps(scores + n + 16));
    });
    return _mm512_reduce_max_ps(_mm512_max_ps(even, odd));
}

// What a query gives to 16 keys, before its total divides: 2^(score - top) where it looks, else 0.
inline __m512 weights_of(const float* scores, float top, __mmask16 which) {
    return _mm512_maskz_mov_ps(which, power_of_two(_mm512_sub_ps(_mm512_loadu_ps(scores), _mm512_set1_ps(top))));
}

// The way back of two queries that stand one after the other, from scores [2][P] (weights, then) and the slopes of
// weights [2][P]: weights, both queries in one word, [P]; slopes of scores, by rows [2][P] and in such words.
inline void weigh_two(float* scores, const float* dweights, long P, long query, long last, const float* tops,
                      const float* shares, pair* weight_pairs, bf16* dscores, pair* dscore_pairs) {
    __m512 means[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    const auto weigh = [&](long r, long n, uint32_t which) {
        float* own = scores + r * P + n;
        const float* slope = dweights + r * P + n;
        const __m512 share = _mm512_set1_ps(shares[r]);
        const __m512 a = _mm512_mul_ps(weights_of(own, tops[r], low(which)), share);
        const __m512 b = _mm512_mul_ps(weights_of(own + 16, tops[r], high(which)), share);
        means[r] = _mm512_fmadd_ps(a, _mm512_loadu_ps(slope), means[r]);
        means[r] = _mm512_fmadd_ps(b, _mm512_loadu_ps(slope + 16), means[r]);
        _mm512_storeu_ps(own, a);
        _mm512_storeu_ps(own + 16, b);
        return joined(a, b);
    };
    const auto weigh_both = [&](long n, uint32_t even, uint32_t odd) {
        const __m512i row = weigh(0, n, even);
        put(weight_pairs + n, Words(row, weigh(1, n, odd)));
    };
    for (long n = 0; n < last; n += COLUMNS) weigh_both(n, ALL, ALL);
    weigh_both(last, seen(query, last), seen(query + 1, last));
    for (__m512& mean : means) mean = _mm512_set1_ps(_mm512_reduce_add_ps(mean));
    const auto slopes = [&](long r, long n) {
        const float *weight = scores + r * P + n, *slope = dweights + r * P + n;
        const __m512 a = _mm512_sub_ps(_mm512_loadu_ps(slope), means[r]);
        const __m512 b = _mm512_sub_ps(_mm512_loadu_ps(slope + 16), means[r]);
        const __m512i found =
            joined(_mm512_mul_ps(_mm512_loadu_ps(weight), a), _mm512_mul_ps(_mm512_loadu_ps(weight + 16), b));
        _mm512_storeu_si512(dscores + r * P + n, found);
        return found;
    };
    for (long n = 0; n <= last; n += COLUMNS) {
        const __m512i row = slopes(0, n);
        put(dscore_pairs + n, Words(row, slopes(1, n)));
    }
}

}  // namespace

// qkv: [B][T][3][H][K]; cos, sin: [T][K]; y: [B][T][H][K]; sums: [2][B][H][T], every query's top and its total.
extern "C" void attention(const bf16* qkv, const bf16* cos, const bf16* sin, bf16* y, float* sums, long B, long T,
                          long H, long K) {
    static thread_local std::vector<bf16> kept[4];
    static thread_local std::vector<pair> packed[2];
    static thread_local std::vector<float> found[4];
    const long P = (T + 31) / 32 * 32;
    const Head head{T, K, 3 * H * K, cos, sin};
    const Tiles tiles;
    bf16 *q = scratch(kept[0], P * K), *k = scratch(kept[1], P * K), *v = scratch(kept[2], P * K);
    bf16* weights = scratch(kept[3], 2 * ROWS * P);
    pair *keys = scratch(packed[0], P * K / 2), *values = scratch(packed[1], P * K / 2);
    float *scores = scratch(found[0], ROWS * P), *out = scratch(found[1], ROWS * K);
    float *tops = scratch(found[2], P), *totals = scratch(found[3], P);
    for (long b = 0; b < B; ++b)
        for (long h = 0; h < H; ++h) {
            const bf16* from = qkv + b * T * head.stride + h * K;
            head.turn(from, q, LOG2E / std::sqrt((float)K));
            head.turn(from + H * K, k, 1.0f);
            head.copy(from + 2 * H * K, v);
            transpose(k, P, K / 2, keys);
            interleave(v, P, K, values);
            // A block behind, when its weights have reached the cache: tiles are not loaded from stores under way.
            const auto mean_values = [&](long first) {
                const long width = std::min(P, (first + ROWS + 31) / 32 * 32);
                const pair* left = (const pair*)(weights + first / ROWS % 2 * ROWS * P);
                for (long c = 0; c < K; c += COLUMNS)
                    product(tiles, out + c, K, false, left, P / 2, values + c, K, width / 2);
                for (long r = 0; r < std::min(ROWS, T - first); ++r) {
                    const __m512 share = _mm512_set1_ps(1.0f / totals[first + r]);
                    bf16* row = y + ((b * T + first + r) * H + h) * K;
                    for (long c = 0; c < K; c += 32) {
                        const float* sum = out + r * K + c;
                        const __m512 a = _mm512_mul_ps(_mm512_loadu_ps(sum), share);
                        _mm512_storeu_si512(row + c, joined(a, _mm512_mul_ps(_mm512_loadu_ps(sum + 16), share)));
                    }
                }
            };
            for (long first = 0; first < T; first += ROWS) {
                const long last = first / 32 * 32;
                for (long n = 0; n <= last; n += COLUMNS)
                    product(tiles, scores + n, P, false, (const pair*)(q + first * K), K / 2, keys + n, P, K / 2);
                if (first) mean_values(first - ROWS);
                for (long r = 0; r < ROWS; ++r) {
                    const float* row = scores + r * P;
                    bf16* to = weights + (first / ROWS % 2 * ROWS + r) * P;
                    const float top = largest(row, first + r, last);
                    __m512 sum = _mm512_setzero_ps();
                    keys_of(first + r, last, [&](long n, uint32_t which) {
                        const __m512 a = weights_of(row + n, top, low(which));
                        const __m512 b = weights_of(row + n + 16, top, high(which));
                        sum = _mm512_add_ps(sum, _mm512_add_ps(a, b));
                        _mm512_storeu_si512(to + n, joined(a, b));
                    });
                    tops[first + r] = top, totals[first + r] = _mm512_reduce_add_ps(sum);
                }
            }
            mean_values((T - 1) / ROWS * ROWS);
            std::copy_n(tops, T, sums + (b * H + h) * T);
            std::copy_n(totals, T, sums + ((B + b) * H + h) * T);
        }
}

// dy: [B][T][H][K], the slopes in y; dqkv: as qkv, the slopes in it.
extern "C" void attention_backward(const bf16* qkv, const bf16* cos, const bf16* sin, const float* sums,
                                   const bf16* dy, bf16* dqkv, long B, long T, long H, long K) {
    static thread_local std::vector<bf16> kept[5];
    static thread_local std::vector<pair> packed[8];
    static thread_local std::vector<float> summed[8];
    const long P = (T + 31) / 32 * 32;
    const Head head{T, K, 3 * H * K, cos, sin}, slopes{T, K, H * K, cos, sin};
    const Tiles tiles;
    bf16 *q = scratch(kept[0], P * K), *k = scratch(kept[1], P * K), *v = scratch(kept[2], P * K);
    bf16 *g = scratch(kept[3], P * K), *dscores = scratch(kept[4], 2 * ROWS * P);
    pair *keys = scratch(packed[0], P * K / 2), *values = scratch(packed[1], P * K / 2);
    pair *pairs = scratch(packed[2], P * K / 2), *k_pairs = scratch(packed[3], P * K / 2);
    pair *q_columns = scratch(packed[4], P * K / 2), *g_columns = scratch(packed[7], P * K / 2);
    pair *weight_pairs = scratch(packed[5], BLOCK / 2 * P), *dscore_pairs = scratch(packed[6], BLOCK / 2 * P);
    float *scores = scratch(summed[0], ROWS * P), *dweights = scratch(summed[1], ROWS * P);
    float *dq = scratch(summed[2], ROWS * K), *rows = scratch(summed[5], P * K);
    float *dk = scratch(summed[3], P * K), *dv = scratch(summed[4], P * K);  // [K][P]
    float *tops = scratch(summed[6], P), *shares = scratch(summed[7], P);
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
            const float* own = sums + (b * H + h) * T;
            for (long t = 0; t < T; ++t) tops[t] = own[t], shares[t] = 1.0f / own[B * H * T + t];
            std::fill_n(dk, P * K, 0.0f);
            std::fill_n(dv, P * K, 0.0f);
            const auto slope_of_queries = [&](long first) {  // a block behind as well
                const long width = std::min(P, (first + ROWS + 31) / 32 * 32);
                const pair* left = (const pair*)(dscores + first / ROWS % 2 * ROWS * P);
                for (long c = 0; c < K; c += COLUMNS)
                    product(tiles, dq + c, K, false, left, P / 2, k_pairs + c, K, width / 2);
                for (long r = 0; r < std::min(ROWS, T - first); ++r) head.turn_back(dq + r * K, to, first + r, scale);
            };
            for (long start = 0; start < P; start += BLOCK) {
                const long stop = std::min(start + BLOCK, P);
                for (long first = start; first < stop; first += ROWS) {
                    const long last = first / 32 * 32;
                    for (long n = 0; n <= last; n += COLUMNS) {
                        product(tiles, scores + n, P, false, (const pair*)(q + first * K), K / 2, keys + n, P, K / 2);
                        product(tiles, dweights + n, P, false, (const pair*)(g + first * K), K / 2, values + n, P,
                                K / 2);
                    }
                    if (first) slope_of_queries(first - ROWS);
                    bf16* dscores_of = dscores + first / ROWS % 2 * ROWS * P;
                    for (long r = 0; r < ROWS; r += 2) {
                        const long query = first + r, pairs_from = (query - start) / 2 * P;
                        weigh_two(scores + r * P, dweights + r * P, P, query, last, tops + query, shares + query,
                                  weight_pairs + pairs_from, dscores_of + r * P, dscore_pairs + pairs_from);
                    }
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
            slope_of_queries(P - ROWS);
            transpose(dk, K, P, rows);
            for (long t = 0; t < T; ++t) head.turn_back(rows + t * K, to + H * K, t, LN2);
            transpose(dv, K, P, rows);
            for (long t = 0; t < T; ++t)
                for (long c = 0; c < K; c += 16)
                    narrow(to + 2 * H * K + t * head.stride + c, _mm512_loadu_ps(rows + t * K + c));
        }
}
