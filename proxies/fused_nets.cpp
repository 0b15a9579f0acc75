// Dense nets, one a model: each takes the rows of its model where they stand, and writes there.
//
// M models, N rows of all, D model width, F hidden width (both multiples of 32).

#include "nets.h"

namespace {

struct Standing {
    static constexpr bool GATED = false;

    long own;  // rows of a model

    long start(long model) const { return model * own; }

    // `count` rows of a block, and zeros up to a whole one.
    const bf16* block(const bf16* from, long first, long count, long D, bf16* room) const {
        if (count == rounded(count)) return from + first * D;
        std::copy_n(from + first * D, count * D, room);
        std::fill(room + count * D, room + rounded(count) * D, 0);
        return room;
    }
};

}  // namespace

// y = down(relu(up(x))^2), N x D; kept for the way back: N x F.
extern "C" void nets(const bf16* x, const bf16* up, const bf16* down, bf16* y, bf16* kept, long N, long D, long F,
                     long M) {
    forward(Standing{N / M}, x, up, down, kept, y, D, F, M);
}

// Slopes of what `nets` reads, from dy.
extern "C" void nets_backward(const bf16* dy, const bf16* x, const bf16* up, const bf16* down, const bf16* kept,
                              bf16* dx, bf16* dup, bf16* ddown, long N, long D, long F, long M) {
    backward(Standing{N / M}, dy, x, up, down, kept, dx, (float*)nullptr, dup, ddown, D, F, M);
}
