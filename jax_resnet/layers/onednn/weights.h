// Copies weights from HWIO to the layouts of oneDNN's forward kernels: blocks of consecutive outputs (which oneDNN
// calls Acdb64a), or of the outputs of two inputs interleaved (AcdB64a2b). oneDNN's own reorders take two to eight
// times as long where there are many weights, which for one image is most of a convolution's time.

#ifndef JAX_RESNET_WEIGHTS_H_
#define JAX_RESNET_WEIGHTS_H_

#include <algorithm>
#include <cstdint>
#include <optional>

#include "oneapi/dnnl/dnnl.hpp"

namespace jax_resnet {

class WeightLayout {
 public:
  // The layout of an array of axes (outputs, inputs, height, width), if it is one of these.
  static std::optional<WeightLayout> Of(const dnnl::memory::desc& desc) {
    const auto dims = desc.get_dims(), steps = desc.get_strides(), blocks = desc.get_inner_blks();
    const auto axes = desc.get_inner_idxs();
    WeightLayout w;
    w.wide_ = desc.get_data_type() == dnnl::memory::data_type::f32;
    w.pairs_ = blocks.size() == 2;
    const bool outputs_first = !blocks.empty() && axes[0] == 0;
    const bool inputs_second = w.pairs_ && axes[1] == 1 && blocks[1] == 2 && dims[1] % 2 == 0 && !w.wide_;
    if (dims.size() != 4 || blocks.size() > 2 || !outputs_first || w.pairs_ != inputs_second) return std::nullopt;
    w.outputs_ = dims[0], w.inputs_ = dims[1], w.height_ = dims[2], w.width_ = dims[3];
    w.block_ = blocks[0];
    std::copy(steps.begin(), steps.end(), w.steps_);
    return w;
  }

  void FromHwio(const void* from, void* to) const {
    wide_ ? Copy(static_cast<const uint32_t*>(from), static_cast<uint32_t*>(to))
          : Copy(static_cast<const uint16_t*>(from), static_cast<uint16_t*>(to));
  }

 private:
  template <typename T>
  void Copy(const T* from, T* to) const {
    const int64_t blocks = (outputs_ + block_ - 1) / block_, pixels = height_ * width_;
#pragma omp parallel for schedule(static) if (pixels * outputs_ * inputs_ > 1 << 16)
    for (int64_t task = 0; task < blocks * pixels; ++task) {
      const int64_t pixel = task % pixels, block = task / pixels, first = block * block_;
      const T* values = from + pixel * inputs_ * outputs_ + first;
      T* rows = to + block * steps_[0] + pixel / width_ * steps_[2] + pixel % width_ * steps_[3];
      const int64_t count = std::min(block_, outputs_ - first), each = pairs_ ? 2 : 1;
      for (int64_t i = 0; i < inputs_; i += each) {
        T* row = rows + i / each * steps_[1];
        const T* value = values + i * outputs_;
        if (pairs_) {
          for (int64_t o = 0; o < count; ++o) {
            row[2 * o] = value[o];
            row[2 * o + 1] = value[outputs_ + o];
          }
        } else {
          std::copy(value, value + count, row);
        }
        std::fill(row + each * count, row + each * block_, 0);  // beyond the last output
      }
    }
  }

  int64_t outputs_ = 0, inputs_ = 0, height_ = 0, width_ = 0, block_ = 0;
  int64_t steps_[4] = {};  // From one block to the next along each axis.
  bool wide_ = false, pairs_ = false;
};

}  // namespace jax_resnet

#endif  // JAX_RESNET_WEIGHTS_H_
