// The innermost loop of products in bfloat16, 8 rows by 32 columns at a time in the registers of AVX-512, or 16 in the
// tiles of AMX; and how what stands at its right is packed.

#pragma once

#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cstdint>
#include <memory>

#include "bfloat16.h"

namespace {

#ifdef __AMX_BF16__
constexpr long ROWS = 16;
#else
constexpr long ROWS = 8;
#endif
constexpr long COLUMNS = 32;

// Memory of a call, on a line of the cache; nothing is written there first.
template <class T>
struct Scratch {
    std::unique_ptr<char[]> kept;
    T* at;

    explicit Scratch(long size) : kept(new char[size * sizeof(T) + 64]) {
        at = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(kept.get()) + 63) & ~uintptr_t(63));
    }
    operator T*() const { return at; }
};

// each(r, low, high) gets row r of the tile: the sum over s of left[r * row + s * step] . right[s * width + c].
template <class Each>
inline void tile(const pair* left, long row, long step, const pair* right, long width, long steps, Each each) {
    __m512 low[ROWS], high[ROWS];
#pragma GCC unroll 16
    for (long r = 0; r < ROWS; ++r) low[r] = high[r] = _mm512_setzero_ps();
    for (long s = 0; s < steps; ++s) {
        const __m512bh first = (__m512bh)_mm512_loadu_si512(right + s * width);
        const __m512bh second = (__m512bh)_mm512_loadu_si512(right + s * width + 16);
#pragma GCC unroll 16
        for (long r = 0; r < ROWS; ++r) {
            const __m512bh x = (__m512bh)_mm512_set1_epi32(left[r * row + s * step]);
            low[r] = _mm512_dpbf16_ps(low[r], x, first);
            high[r] = _mm512_dpbf16_ps(high[r], x, second);
        }
    }
#pragma GCC unroll 16
    for (long r = 0; r < ROWS; ++r) each(r, low[r], high[r]);
}

// The same to memory of `to_width` columns a row, added to what is there or in its place.
inline void tile_to(float* to, long to_width, bool adds, const pair* left, long row, long step, const pair* right,
                    long width, long steps) {
    tile(left, row, step, right, width, steps, [=](long r, __m512 low, __m512 high) {
        float* place = to + r * to_width;
        if (adds) {
            low = _mm512_add_ps(low, _mm512_loadu_ps(place));
            high = _mm512_add_ps(high, _mm512_loadu_ps(place + 16));
        }
        _mm512_storeu_ps(place, low);
        _mm512_storeu_ps(place + 16, high);
    });
}

// AMX for this thread while this lives, where the processor has it and the kernel lends it.
class Tiles {
#ifdef __AMX_BF16__
    static constexpr long REQUEST = 0x1023, DATA = 18;  // ARCH_REQ_XCOMP_PERM of a tile's data: Linux's asm/prctl.h
    struct alignas(64) Shapes {
        uint8_t palette = 1, start = 0, reserved[14] = {};
        uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    };

   public:
    const bool lent;

    Tiles() : lent(asked()) {
        static constexpr Shapes shapes;
        if (lent) asm volatile("ldtilecfg %0" ::"m"(shapes));
    }
    ~Tiles() {
        if (lent) _tile_release();
    }
    Tiles(const Tiles&) = delete;

   private:
    static bool asked() {
        static const bool found = !syscall(SYS_arch_prctl, REQUEST, DATA);
        return found;
    }
#else
   public:
    Tiles() {}  // else there could be no constant one
#endif
};

// tile_to of words that stand side by side at the left; steps is a multiple of 16.
inline void product(const Tiles& tiles, float* to, long to_width, bool adds, const pair* left, long row,
                    const pair* right, long width, long steps) {
#ifdef __AMX_BF16__
    if (tiles.lent) {
        asm volatile("" ::: "memory");  // compilers do not know that loading a tile reads memory
        _tile_zero(0);
        _tile_zero(1);
        if (adds) {
            _tile_loadd(0, to, to_width * sizeof(float));
            _tile_loadd(1, to + 16, to_width * sizeof(float));
        }
        for (long s = 0; s < steps; s += 16) {
            _tile_loadd(2, left + s, row * sizeof(pair));
            _tile_loadd(3, right + s * width, width * sizeof(pair));
            _tile_loadd(4, right + s * width + 16, width * sizeof(pair));
            _tile_dpbf16ps(0, 2, 3);
            _tile_dpbf16ps(1, 2, 4);
        }
        _tile_stored(0, to, to_width * sizeof(float));
        _tile_stored(1, to + 16, to_width * sizeof(float));
        return;
    }
#endif
    tile_to(to, to_width, adds, left, row, 1, right, width, steps);
}

// The same to each(r, low, high), as tile.
template <class Each>
inline void product(const Tiles& tiles, const pair* left, long row, const pair* right, long width, long steps,
                    Each each) {
#ifdef __AMX_BF16__
    if (tiles.lent) {
        alignas(64) float found[ROWS * COLUMNS];
        product(tiles, found, COLUMNS, false, left, row, right, width, steps);
        for (long r = 0; r < ROWS; ++r)
            each(r, _mm512_load_ps(found + r * COLUMNS), _mm512_load_ps(found + r * COLUMNS + 16));
        return;
    }
#endif
    tile(left, row, 1, right, width, steps, each);
}

#ifdef __AMX_BF16__
// product of twice as many rows, by panels of COLUMNS at the right; meanwhile meanwhile(i) for every i below 32, which
// must not wait for it: else the units for vectors and the one for tiles wait for each other.
template <class Meanwhile>
inline void square(float* to, long to_width, bool adds, const pair* left, long row, const pair* right, long steps,
                   Meanwhile meanwhile) {
    const long bytes = to_width * sizeof(float), turns = steps / 16, each = (2 * ROWS + turns - 1) / turns;
    float* below = to + ROWS * to_width;
    asm volatile("" ::: "memory");  // compilers do not know that loading a tile reads memory
    if (adds) {
        _tile_loadd(0, to, bytes);
        _tile_loadd(1, to + 16, bytes);
        _tile_loadd(2, below, bytes);
        _tile_loadd(3, below + 16, bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (long s = 0, i = 0; s < steps; s += 16) {
        _tile_loadd(4, left + s, row * sizeof(pair));
        _tile_loadd(6, right + s * COLUMNS, COLUMNS * sizeof(pair));
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, right + s * COLUMNS + 16, COLUMNS * sizeof(pair));
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, left + ROWS * row + s, row * sizeof(pair));
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        for (const long end = std::min(i + each, 2 * ROWS); i < end; ++i) meanwhile(i);
    }
    asm volatile("" ::: "memory");
    _tile_stored(0, to, bytes);
    _tile_stored(1, to + 16, bytes);
    _tile_stored(2, below, bytes);
    _tile_stored(3, below + 16, bytes);
}
#endif

// 16 rows of 16 words, `stride` apart, to their columns, `to_stride` apart.
inline void transpose(const pair* from, long stride, pair* to, long to_stride) {
    __m512i row[16], two[16], four[16];
#pragma GCC unroll 16
    for (long r = 0; r < 16; ++r) row[r] = _mm512_loadu_si512(from + r * stride);
#pragma GCC unroll 8
    for (long r = 0; r < 16; r += 2) {
        two[r] = _mm512_unpacklo_epi32(row[r], row[r + 1]);
        two[r + 1] = _mm512_unpackhi_epi32(row[r], row[r + 1]);
    }
#pragma GCC unroll 4
    for (long r = 0; r < 16; r += 4) {
        four[r] = _mm512_unpacklo_epi64(two[r], two[r + 2]);
        four[r + 1] = _mm512_unpackhi_epi64(two[r], two[r + 2]);
        four[r + 2] = _mm512_unpacklo_epi64(two[r + 1], two[r + 3]);
        four[r + 3] = _mm512_unpackhi_epi64(two[r + 1], two[r + 3]);
    }
#pragma GCC unroll 4
    for (long c = 0; c < 4; ++c) {  // four[4 g + c] has columns c, 4 + c, 8 + c and 12 + c of rows 4 g to 4 g + 3
        const __m512i top_left = _mm512_shuffle_i32x4(four[c], four[4 + c], 0x44);
        const __m512i top_right = _mm512_shuffle_i32x4(four[c], four[4 + c], 0xEE);
        const __m512i left = _mm512_shuffle_i32x4(four[8 + c], four[12 + c], 0x44);
        const __m512i right = _mm512_shuffle_i32x4(four[8 + c], four[12 + c], 0xEE);
        _mm512_storeu_si512(to + c * to_stride, _mm512_shuffle_i32x4(top_left, left, 0x88));
        _mm512_storeu_si512(to + (4 + c) * to_stride, _mm512_shuffle_i32x4(top_left, left, 0xDD));
        _mm512_storeu_si512(to + (8 + c) * to_stride, _mm512_shuffle_i32x4(top_right, right, 0x88));
        _mm512_storeu_si512(to + (12 + c) * to_stride, _mm512_shuffle_i32x4(top_right, right, 0xDD));
    }
}

// Packs [width][K] in panels of 32 columns, [width / 32][K / 2][32], to multiply by the transpose.
inline void pack_transposed(const bf16* from, long width, long K, pair* to) {
    for (long c = 0; c < width; c += COLUMNS, to += K / 2 * COLUMNS)
        for (long s = 0; s < K / 2; s += 16)
            for (long h = 0; h < COLUMNS; h += 16)
                transpose((const pair*)from + (c + h) * (K / 2) + s, K / 2, to + s * COLUMNS + h, COLUMNS);
}

// Entries of two rows, 32 each, in words: those of the first 16 columns, and those of the others.
struct Words {
    __m512i low, high;

    Words(__m512i even, __m512i odd) {
        alignas(64) static constexpr struct Places {
            uint16_t at[64];
            constexpr Places() : at() {
                for (int i = 0; i < 64; ++i) at[i] = i / 2 + i % 2 * 32;
            }
        } places;
        low = _mm512_permutex2var_epi16(even, _mm512_load_si512(places.at), odd);
        high = _mm512_permutex2var_epi16(even, _mm512_load_si512(places.at + 32), odd);
    }
};

inline void put(pair* to, const Words& words) {
    _mm512_storeu_si512(to, words.low);
    _mm512_storeu_si512(to + 16, words.high);
}

// Rows that come one after the other, 32 entries of each, put two by two.
class ByTwo {
    __m512i even = _mm512_setzero_si512();

   public:
    void take(long row, __m512i entries, pair* to) {
        if (row % 2 == 0)
            even = entries;
        else
            put(to, Words(even, entries));
    }
};

// Packs [K][width] in such panels, to multiply by it; row(k) is where the k-th row stands.
template <class Row>
inline void pack(Row row, long K, long width, pair* to) {
    for (long k = 0; k < K; k += 2) {
        const bf16 *even = row(k), *odd = row(k + 1);
        pair* place = to + k / 2 * COLUMNS;
        for (long c = 0; c < width; c += COLUMNS, place += K / 2 * COLUMNS) {
            put(place, Words(_mm512_loadu_si512(even + c), _mm512_loadu_si512(odd + c)));
        }
    }
}

}  // namespace
