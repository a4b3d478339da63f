// The ConvLSTM's gates. Included inside a variant's namespace, after its Vec.
#pragma once

class LstmPixels {
 public:
    explicit LstmPixels(const LstmGates<Scalar>& p) : p(p) {}

    void run(ParallelFor parallel_for) {
        const Body body = [](int64_t begin, int64_t end, void* context) {
            const LstmPixels& self = *static_cast<const LstmPixels*>(context);
            const int64_t last = std::min(end * kPixels, self.p.pixels);
            for (int64_t pixel = begin * kPixels; pixel < last; ++pixel) self.step(pixel);
        };
        parallel_for((p.pixels + kPixels - 1) / kPixels, body, this);
    }

 private:
    static constexpr int64_t kPixels = 64;  // of a task

    void step(int64_t pixel) const {
        const int64_t channels = p.channels;
        const Scalar* const gates = p.gates + pixel * 4 * channels;
        const int64_t at = pixel * channels;
        for (int64_t c = 0; c < channels; c += Vec::width) {
            const int64_t left = channels - c;
            const auto gate = [&](int64_t g) { return load_part(gates + g * channels + c, left); };
            const Vec kept = sigmoid(gate(1)) * load_part(p.cell + at + c, left);
            const Vec cell = fma(sigmoid(gate(0)), tanh(gate(3)), kept);
            store_part(cell, p.new_cell + at + c, left);
            store_part(sigmoid(gate(2)) * tanh(cell), p.hidden + at + c, left);
        }
    }

    const LstmGates<Scalar>& p;
};

void lstm_gates(const LstmGates<Scalar>& p, ParallelFor parallel_for) { LstmPixels(p).run(parallel_for); }
