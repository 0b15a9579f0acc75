// Losses of tokens by the unembedding, there and back: logits are found a block at a time, and never reach memory.
//
// M models, N rows of all, D model width (a multiple of 32), V vocabulary. Logits are x head', in float32, and all is in
// powers of two: a row's sum is the logarithm, to base 2, of the sum of its exponentials.

#include <cmath>
#include <vector>

#include "slopes.h"

namespace {

constexpr long CHUNK = 512;  // tokens of the vocabulary at a time: their slopes in the head stay in a core's own cache
constexpr float LOWEST = -1e30f;  // finite, so that one less another is a number
constexpr float MARGIN = 100.0f;  // 2^100 times as many tokens as there may be is a number

// each(first, width, rows): tokens of the vocabulary, a chunk at a time, and zeros up to a whole panel.
template <class Each>
void chunks(const bf16* head, long V, long D, bf16* room, Each each) {
    for (long first = 0; first < V; first += CHUNK) {
        const long count = std::min(CHUNK, V - first), width = (count + COLUMNS - 1) / COLUMNS * COLUMNS;
        const bf16* rows = head + first * D;
        if (count < width) {
            std::copy_n(rows, count * D, room);
            std::fill(room + count * D, room + width * D, 0);
            rows = room;
        }
        each(first, width, rows);
    }
}

// Which of the 32 tokens from v on there are.
struct Here {
    bool all;
    __mmask16 low, high;

    Here(long V, long v) : all(V - v >= COLUMNS) {
        const uint32_t which = all ? ~0u : (1u << (V - v)) - 1;
        low = (__mmask16)which, high = (__mmask16)(which >> 16);
    }
};

// What is known of a row: a number that is about its largest logit, the sum of 2^(logit - top), and its target's logit.
struct Sum {
    float top, total, gold;

    void add(const Sum& other) {
        const float larger = std::max(top, other.top);
        total = total * std::exp2(top - larger) + other.total * std::exp2(other.top - larger);
        top = larger, gold += other.gold;
    }
};

// The same of every sixteenth token: the largest of the first two, unless another is so much larger that sums could
// become infinite.
struct Lanes {
    __m512 top, total;

    void begin(__m512 low, __m512 high, Here here) {
        const __m512 lowest = _mm512_set1_ps(LOWEST);
        low = _mm512_mask_mov_ps(lowest, here.low, low), high = _mm512_mask_mov_ps(lowest, here.high, high);
        top = _mm512_max_ps(low, high) * _mm512_set1_ps(LOG2E);
        total = _mm512_setzero_ps();
    }

    void add(__m512 low, __m512 high, Here here) {
        const __m512 scale = _mm512_set1_ps(LOG2E), lowest = _mm512_set1_ps(LOWEST);
        low = _mm512_fmsub_ps(low, scale, top), high = _mm512_fmsub_ps(high, scale, top);
        if (!here.all)
            low = _mm512_mask_mov_ps(lowest, here.low, low), high = _mm512_mask_mov_ps(lowest, here.high, high);
        const __m512 larger = _mm512_max_ps(low, high);
        if (_mm512_cmp_ps_mask(larger, _mm512_set1_ps(MARGIN), _CMP_GT_OQ)) {
            const __m512 more = _mm512_max_ps(larger, _mm512_setzero_ps());
            top += more, total *= power_of_two(-more), low -= more, high -= more;
        }
        total += power_of_two(low) + power_of_two(high);
    }

    Sum joined(float gold) const {
        const float most = _mm512_reduce_max_ps(top);
        return {most, _mm512_reduce_add_ps(total * power_of_two(top - _mm512_set1_ps(most))), gold};
    }
};

}  // namespace

// loss[N], at most `most`, of targets[N]; sums[N] are kept for the way back.
extern "C" void losses(const bf16* x, const bf16* head, const int64_t* targets, float* losses, float* sums, long N,
                       long D, long V, long M, float most) {
    const Tiles tiles;
    const Standing rows{N / M};
    Scratch<bf16> tail(CHUNK * D), room(BLOCK * D);
    Scratch<pair> packed(CHUNK * D / 2);
    Scratch<Lanes> lanes(BLOCK);
    Scratch<float> gold(BLOCK);
    std::vector<Sum> found(rows.own);
    for (long m = 0; m < M; ++m) {
        chunks(head + m * V * D, V, D, tail, [&](long begin, long width, const bf16* own) {
            pack_transposed(own, width, D, packed);
            blocks(rows, m, [&](long first, long count) {
                std::fill_n(gold.at, count, 0.0f);
                const bf16* x_block = rows.block(x, first, count, D, room);
                times(tiles, x_block, rounded(count), D, packed, width, [&](long r, long c, __m512 low, __m512 high) {
                    if (r >= count) return;
                    const Here here(V, begin + c);
                    if (!c) lanes[r].begin(low, high, here);
                    lanes[r].add(low, high, here);
                    const unsigned long target = targets[first + r] - begin - c;
                    if (target < COLUMNS) gold[r] = target < 16 ? low[target] : high[target - 16];
                });
                for (long r = 0; r < count; ++r) {
                    Sum& sum = found[first + r - rows.start(m)];
                    if (begin)
                        sum.add(lanes[r].joined(gold[r] * LOG2E));
                    else
                        sum = lanes[r].joined(gold[r] * LOG2E);
                }
            });
        });
        for (long r = 0, n = rows.start(m); r < rows.own; ++r, ++n) {
            sums[n] = found[r].top + std::log2(found[r].total);
            const float loss = (sums[n] - found[r].gold) * LN2;
            losses[n] = loss > most ? most : loss;  // NaN stays NaN
        }
    }
}

// Slopes of x and head from those of losses; where `most` held a loss down, too.
extern "C" void losses_backward(const float* dlosses, const bf16* x, const bf16* head, const int64_t* targets,
                                const float* sums, bf16* dx, bf16* dhead, long N, long D, long V, long M) {
    const Tiles tiles;
    const Standing rows{N / M};
    Scratch<bf16> tail(CHUNK * D), room(BLOCK * D), dlogits(BLOCK * CHUNK);
    Scratch<pair> packed(CHUNK * D / 2), packed_back(CHUNK * D / 2);
    Scratch<pair> x_left(BLOCK / 2 * D), dlogits_right(BLOCK / 2 * GROUP);
    Scratch<float> dhead_sum(CHUNK * D), dx_sum(V > CHUNK ? rows.own * D : 0);
    for (long m = 0; m < M; ++m)
        chunks(head + m * V * D, V, D, tail, [&](long begin, long width, const bf16* own) {
            pack_transposed(own, width, D, packed);
            pack([&](long v) { return own + v * D; }, width, D, packed_back);
            const bool is_last = begin + CHUNK >= V;
            blocks(rows, m, [&](long first, long count) {
                const long whole = rounded(count), steps = whole / 2;
                const bool adds = first > rows.start(m);
                const bf16* x_block = rows.block(x, first, count, D, room);
                pack_left(x_block, whole, D, x_left);
                for (long group = 0; group < width; group += GROUP) {
                    const long columns = std::min(GROUP, width - group);
                    ByTwo pairs;
                    const auto put_slopes = [&](long r, long c, __m512 low, __m512 high) {
                        __m512i slopes = _mm512_setzero_si512();
                        if (r < count) {
                            const long n = first + r, v = begin + group + c;
                            const Here here(V, v);
                            const unsigned long target = targets[n] - v;
                            const uint32_t is_target = target < COLUMNS ? 1u << target : 0;
                            const __m512 scale = _mm512_set1_ps(LOG2E), one = _mm512_set1_ps(1.0f);
                            const __m512 sum = _mm512_set1_ps(sums[n]), slope = _mm512_set1_ps(dlosses[n]);
                            low = power_of_two(_mm512_fmsub_ps(low, scale, sum));
                            high = power_of_two(_mm512_fmsub_ps(high, scale, sum));
                            low = _mm512_mask_sub_ps(low, (__mmask16)is_target, low, one) * slope;
                            high = _mm512_mask_sub_ps(high, (__mmask16)(is_target >> 16), high, one) * slope;
                            if (!here.all)
                                low = _mm512_maskz_mov_ps(here.low, low), high = _mm512_maskz_mov_ps(here.high, high);
                            slopes = joined(low, high);
                        }
                        _mm512_storeu_si512(dlogits + r * width + group + c, slopes);
                        pairs.take(r, slopes, dlogits_right + c * steps + r / 2 * COLUMNS);
                    };
                    times(tiles, x_block, whole, D, packed + group * D / 2, columns, put_slopes);
                    slopes(tiles, x_left, D, dlogits_right, columns, steps, adds, dhead_sum + group * D);
                }
                times(tiles, dlogits, whole, width, packed_back, D, [&](long r, long d, __m512 low, __m512 high) {
                    if (r >= count) return;
                    if (V > CHUNK) {
                        float* sum = dx_sum + (first + r - rows.start(m)) * D + d;
                        if (begin) low += _mm512_load_ps(sum), high += _mm512_load_ps(sum + 16);
                        _mm512_store_ps(sum, low);
                        _mm512_store_ps(sum + 16, high);
                    }
                    if (is_last) _mm512_storeu_si512(dx + (first + r) * D + d, joined(low, high));
                });
            });
            bf16* to = dhead + (m * V + begin) * D;
            if (begin + width <= V) {
                narrow_columns(dhead_sum, D, width, to);
            } else {
                narrow_columns(dhead_sum, D, width, tail);
                std::copy_n(tail.at, (V - begin) * D, to);
            }
        });
}
