// Batch normalization with residual and ReLU as calls of XLA on CPU; the Python side is norm/native.py.

#include <cstdint>
#include <string>
#include <type_traits>

#include "norm_kernels.h"
#include "runtime.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using jax_resnet::BFloat16;

namespace {

// Calls job(pointer) with a null pointer to the type of the arrays.
template <typename Job>
std::string WithType(bool bf16, const Job& job) {
  return jax_resnet::Guarded([&] {
    std::lock_guard<std::mutex> lock(jax_resnet::mutex);
    jax_resnet::ThreadCount count(jax_resnet::threads);
    bf16 ? job(static_cast<BFloat16*>(nullptr)) : job(static_cast<float*>(nullptr));
  });
}

// The arrays as they come: T is what x, y and their gradients hold.
struct ForwardArrays {
  const void* x;
  const float *scale, *bias;
  const void* residual;
  void* y;
  float *mean, *var;
};

struct BackwardArrays {
  const void *g, *x, *y;
  const float *scale, *mean, *var;
  void* gx;
  float *gscale, *gbias;
  void* gresidual;
};

std::string RunForward(bool bf16, int64_t values, int64_t channels, jax_resnet::Parameters p, const ForwardArrays& a) {
  return WithType(bf16, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    jax_resnet::Forward<T>(values, channels, p, static_cast<const T*>(a.x), a.scale, a.bias,
                           static_cast<const T*>(a.residual), static_cast<T*>(a.y), a.mean, a.var);
  });
}

std::string RunBackward(bool bf16, int64_t values, int64_t channels, jax_resnet::Parameters p,
                        const BackwardArrays& a) {
  return WithType(bf16, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    jax_resnet::Backward<T>(values, channels, p, static_cast<const T*>(a.g), static_cast<const T*>(a.x),
                            static_cast<const T*>(a.y), a.scale, a.mean, a.var, static_cast<T*>(a.gx), a.gscale,
                            a.gbias, static_cast<T*>(a.gresidual));
  });
}

ffi::Error ToFfiError(const std::string& failure) {
  return failure.empty() ? ffi::Error::Success() : ffi::Error::Internal("batch normalization: " + failure);
}

ffi::Error Mismatch() {
  return ffi::Error::InvalidArgument("batch normalization: the arrays do not fit each other");
}

template <typename Buffer>
bool IsFloats(const Buffer& b, int64_t size) {
  return b.element_type() == ffi::DataType::F32 && int64_t(b.element_count()) == size;
}

template <typename A, typename B>
bool SameTypeAndSize(const A& a, const B& b) {
  return a.element_type() == b.element_type() && a.element_count() == b.element_count();
}

ffi::Error NormForward(float epsilon, int64_t relu, ffi::AnyBuffer x, ffi::AnyBuffer scale, ffi::AnyBuffer bias,
                       ffi::RemainingArgs rest, ffi::Result<ffi::AnyBuffer> y, ffi::Result<ffi::AnyBuffer> mean,
                       ffi::Result<ffi::AnyBuffer> var) {
  const int64_t channels = x.dimensions().back(), values = x.element_count();
  const void* residual = nullptr;
  bool fits = SameTypeAndSize(x, *y);
  for (auto* vector : {&scale, &bias, &*mean, &*var}) fits = fits && IsFloats(*vector, channels);
  if (rest.size() == 1) {
    auto buffer = rest.get<ffi::AnyBuffer>(0);
    fits = fits && buffer.has_value() && SameTypeAndSize(x, *buffer);
    if (fits) residual = buffer->untyped_data();
  }
  if (!fits) return Mismatch();
  return ToFfiError(RunForward(x.element_type() == ffi::DataType::BF16, values, channels, {epsilon, relu != 0},
                               {x.untyped_data(), scale.typed_data<float>(), bias.typed_data<float>(), residual,
                                y->untyped_data(), mean->typed_data<float>(), var->typed_data<float>()}));
}

ffi::Error NormBackward(float epsilon, int64_t relu, ffi::AnyBuffer g, ffi::AnyBuffer x, ffi::AnyBuffer y,
                        ffi::AnyBuffer scale, ffi::AnyBuffer mean, ffi::AnyBuffer var, ffi::Result<ffi::AnyBuffer> gx,
                        ffi::Result<ffi::AnyBuffer> gscale, ffi::Result<ffi::AnyBuffer> gbias,
                        ffi::RemainingRets rest) {
  const int64_t channels = x.dimensions().back(), values = x.element_count();
  void* gresidual = nullptr;
  bool fits = SameTypeAndSize(x, g) && SameTypeAndSize(x, y) && SameTypeAndSize(x, *gx);
  for (auto* vector : {&scale, &mean, &var, &*gscale, &*gbias}) fits = fits && IsFloats(*vector, channels);
  if (rest.size() == 1) {
    auto buffer = rest.get<ffi::AnyBuffer>(0);
    fits = fits && buffer.has_value() && SameTypeAndSize(x, **buffer);
    if (fits) gresidual = (*buffer)->untyped_data();
  }
  if (!fits) return Mismatch();
  return ToFfiError(RunBackward(x.element_type() == ffi::DataType::BF16, values, channels, {epsilon, relu != 0},
                                {g.untyped_data(), x.untyped_data(), y.untyped_data(), scale.typed_data<float>(),
                                 mean.typed_data<float>(), var.typed_data<float>(), gx->untyped_data(),
                                 gscale->typed_data<float>(), gbias->typed_data<float>(), gresidual}));
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(JaxResnetNormForward, NormForward,
                              ffi::Ffi::Bind()
                                  .Attr<float>("epsilon")
                                  .Attr<int64_t>("relu")
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .RemainingArgs()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(JaxResnetNormBackward, NormBackward,
                              ffi::Ffi::Bind()
                                  .Attr<float>("epsilon")
                                  .Attr<int64_t>("relu")
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .RemainingRets());

// Both on bare pointers, with residual and ReLU, for the self-test; they return 0 on success.
extern "C" int jax_resnet_norm_forward(int bf16, int64_t values, int64_t channels, float epsilon, const void* x,
                                       const float* scale, const float* bias, const void* residual, void* y,
                                       float* mean, float* var) {
  return !RunForward(bf16, values, channels, {epsilon, true}, {x, scale, bias, residual, y, mean, var}).empty();
}

extern "C" int jax_resnet_norm_backward(int bf16, int64_t values, int64_t channels, float epsilon, const void* g,
                                        const void* x, const void* y, const float* scale, const float* mean,
                                        const float* var, void* gx, float* gscale, float* gbias, void* gresidual) {
  return !RunBackward(bf16, values, channels, {epsilon, true},
                      {g, x, y, scale, mean, var, gx, gscale, gbias, gresidual})
              .empty();
}
