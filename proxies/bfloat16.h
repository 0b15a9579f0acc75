// Words of the loops in C++, for AVX-512 with its bf16 units: bfloat16, alone and two by two, and powers of two.

#pragma once

#include <immintrin.h>

#include <cstdint>
#include <initializer_list>

namespace {

using bf16 = uint16_t;
using pair = uint32_t;  // two that are multiplied with two others and added up

inline __m256i half(const bf16* x) { return _mm256_loadu_si256((const __m256i*)x); }

inline __m512 wide(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }

inline __m512 wide(const bf16* x) { return wide(half(x)); }

inline void narrow(bf16* to, __m512 x) { _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(x)); }

// The same of some of sixteen; the others are 0, and stay as they are.
inline __m512 wide(const bf16* x, __mmask16 which) { return wide(_mm256_maskz_loadu_epi16(which, x)); }

inline void narrow(bf16* to, __m512 x, __mmask16 which) {
    _mm256_mask_storeu_epi16(to, which, (__m256i)_mm512_cvtneps_pbh(x));
}

// Which of the sixteen from `at` on come before `end`.
inline __mmask16 before(long at, long end) { return end - at >= 16 ? 0xFFFF : (1u << (end - at)) - 1; }

inline __m512i paired(__m256i low, __m256i high) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}

inline __m512i paired(__m512 low, __m512 high) {
    return paired((__m256i)_mm512_cvtneps_pbh(low), (__m256i)_mm512_cvtneps_pbh(high));
}

// 32 side by side.
inline __m512i joined(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

constexpr float LOG2E = 1.44269504f, LN2 = 0.69314718f;

// 2^x, to 2e-7 of it, by a polynomial of least relative error for what lies above a whole number; NaN stays NaN.
inline __m512 power_of_two(__m512 x) {
    const __m512 rest = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 y = _mm512_set1_ps(0.0018689563f);
    for (const float term : {0.0090148846f, 0.055799301f, 0.24016565f, 0.69315107f, 1.0f})
        y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(term));
    return _mm512_scalef_ps(y, x);  // times 2 to the whole number below x
}

}  // namespace
