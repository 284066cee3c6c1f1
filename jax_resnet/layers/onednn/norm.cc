// Batch normalization with residual and ReLU, forward and backward, each in two passes over memory.
//
// Arrays are (rows, channels), float32 or bfloat16; statistics and parameters are float32. Memory is
// read as "wide" rows: as many rows side by side as fill 64 columns, or one where it has more. A chunk
// of wide rows is summed by one thread, block by block: floats within a block, doubles across, in an
// order that does not depend on the number of threads.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "runtime.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int kLanes = 16;
constexpr int64_t kWide = 64, kBlock = 64, kMostChunks = 64;

typedef float Floats __attribute__((vector_size(4 * kLanes), aligned(4)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes), aligned(4)));
typedef uint16_t Halves __attribute__((vector_size(2 * kLanes), aligned(2)));

struct BFloat16 {
  uint16_t bits;
};

Floats Load(const float* p) { return *reinterpret_cast<const Floats*>(p); }
Floats Load(const BFloat16* p) {
  Words bits = __builtin_convertvector(*reinterpret_cast<const Halves*>(p), Words) << 16;
  return reinterpret_cast<Floats&>(bits);
}
void Store(float* p, Floats v) { *reinterpret_cast<Floats*>(p) = v; }
void Store(BFloat16* p, Floats v) {
  Words bits = reinterpret_cast<Words&>(v);
  Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  rounded = (v == v) ? rounded : (bits >> 16 | 0x40);  // What is no number stays none.
  *reinterpret_cast<Halves*>(p) = __builtin_convertvector(rounded, Halves);
}
Floats All(float v) { return Floats{} + v; }
Floats WherePositive(Floats condition, Floats v) { return condition > 0 ? v : Floats{}; }

struct Shape {
  int64_t channels, repeats, columns, rows;  // Of wide rows: columns = channels * repeats.
  int64_t chunk, chunks;                     // Wide rows of a chunk.

  Shape(int64_t values, int64_t c) : channels(c), repeats(kWide % c == 0 ? kWide / c : 1), columns(c * repeats) {
    rows = values / columns;
    chunk = std::max<int64_t>(kBlock, (rows + kMostChunks - 1) / kMostChunks);
    chunks = (rows + chunk - 1) / chunk;
  }
  int64_t count() const { return rows * repeats; }
};

// A vector a channel, as wide as the rows.
std::vector<float> Widen(const Shape& s, const std::vector<float>& v) {
  std::vector<float> wide(s.columns);
  for (int64_t i = 0; i < s.columns; ++i) wide[i] = v[i % s.channels];
  return wide;
}

// Calls work(first row, last row, column) for tiles of at most kBlock rows and `width` columns.
template <typename Work>
void InTiles(const Shape& s, int64_t first, int64_t last, int64_t width, const Work& work) {
  for (int64_t row = first; row < last; row += kBlock)
    for (int64_t column = 0; column < s.columns; column += width) work(row, std::min(row + kBlock, last), column);
}

// Two sums a channel of what `terms(index, column, a, b)` adds up, one vector at a time.
template <int V, typename Terms>
void SumTiles(const Shape& s, const Terms& terms, std::vector<double>& sums) {
  std::vector<double> partial(s.chunks * 2 * s.columns, 0.0);
#pragma omp parallel for schedule(static)
  for (int64_t chunk = 0; chunk < s.chunks; ++chunk) {
    double* into = &partial[chunk * 2 * s.columns];
    InTiles(s, chunk * s.chunk, std::min((chunk + 1) * s.chunk, s.rows), V * kLanes,
            [&](int64_t row, int64_t end, int64_t column) {
              Floats a[V] = {}, b[V] = {};
              for (; row < end; ++row)
                for (int v = 0; v < V; ++v)
                  terms(row * s.columns + column + v * kLanes, column + v * kLanes, a[v], b[v]);
              for (int v = 0; v < V; ++v)
                for (int lane = 0; lane < kLanes; ++lane) {
                  into[column + v * kLanes + lane] += a[v][lane];
                  into[s.columns + column + v * kLanes + lane] += b[v][lane];
                }
            });
  }
  sums.assign(2 * s.channels, 0.0);
  for (int64_t chunk = 0; chunk < s.chunks; ++chunk)
    for (int64_t i = 0; i < 2 * s.columns; ++i)
      sums[i / s.columns * s.channels + i % s.columns % s.channels] += partial[chunk * 2 * s.columns + i];
}

template <typename Terms>
std::vector<double> Sums(const Shape& s, const Terms& terms) {
  std::vector<double> sums;
  s.columns % kWide ? SumTiles<1>(s, terms, sums) : SumTiles<kWide / kLanes>(s, terms, sums);
  return sums;
}

template <typename Work>
void ForEachVector(const Shape& s, const Work& work) {
#pragma omp parallel for schedule(static)
  for (int64_t chunk = 0; chunk < s.chunks; ++chunk)
    for (int64_t row = chunk * s.chunk; row < std::min((chunk + 1) * s.chunk, s.rows); ++row)
      for (int64_t column = 0; column < s.columns; column += kLanes) work(row * s.columns + column, column);
}

struct Parameters {
  float epsilon;
  bool relu;
};

template <typename T>
void Forward(int64_t values, int64_t channels, Parameters p, const T* x, const float* scale, const float* bias,
             const T* residual, T* y, float* mean, float* var) {
  Shape s(values, channels);
  // Squares are summed about one example, not zero, so that few digits cancel.
  std::vector<float> shift(channels), slope(channels);
  for (int64_t c = 0; c < channels; ++c)
    if constexpr (std::is_same_v<T, float>) {
      shift[c] = x[c];
    } else {
      uint32_t bits = uint32_t(x[c].bits) << 16;
      std::memcpy(&shift[c], &bits, 4);
    }
  auto shifts = Widen(s, shift);
  auto sums = Sums(s, [&](int64_t i, int64_t column, Floats& total, Floats& squares) {
    Floats d = Load(x + i) - Load(&shifts[column]);
    total += d;
    squares += d * d;
  });
  double n = double(s.count());
  for (int64_t c = 0; c < channels; ++c) {
    double offset = sums[c] / n;
    mean[c] = float(shift[c] + offset);
    var[c] = float(std::max(sums[channels + c] / n - offset * offset, 0.0));
    slope[c] = scale[c] / std::sqrt(var[c] + p.epsilon);
  }
  auto means = Widen(s, {mean, mean + channels}), slopes = Widen(s, slope), biases = Widen(s, {bias, bias + channels});
  auto normalized = [&](int64_t i, int64_t column) {
    return (Load(x + i) - Load(&means[column])) * Load(&slopes[column]) + Load(&biases[column]);
  };
  // What is no number passes the ReLU, as it does in JAX.
  auto write = [&](int64_t i, Floats v) { Store(y + i, p.relu ? (v <= 0 ? Floats{} : v) : v); };
  if (residual != nullptr) {
    ForEachVector(s, [&](int64_t i, int64_t column) { write(i, normalized(i, column) + Load(residual + i)); });
  } else {
    ForEachVector(s, [&](int64_t i, int64_t column) { write(i, normalized(i, column)); });
  }
}

// `g` is the gradient of y; with ReLU it passes where y is positive.
template <typename T>
void Backward(int64_t values, int64_t channels, Parameters p, const T* g, const T* x, const T* y, const float* scale,
              const float* mean, const float* var, T* gx, float* gscale, float* gbias, T* gresidual) {
  Shape s(values, channels);
  auto means = Widen(s, {mean, mean + channels});
  auto passing = [&](int64_t i) { return p.relu ? WherePositive(Load(y + i), Load(g + i)) : Load(g + i); };
  auto sums = Sums(s, [&](int64_t i, int64_t column, Floats& total, Floats& product) {
    Floats v = passing(i);
    total += v;
    product += v * (Load(x + i) - Load(&means[column]));
  });
  double n = double(s.count());
  std::vector<float> slope(channels), offset(channels), tilt(channels);
  for (int64_t c = 0; c < channels; ++c) {
    double inverse = 1 / std::sqrt(double(var[c]) + p.epsilon);
    gbias[c] = float(sums[c]);
    gscale[c] = float(sums[channels + c] * inverse);
    slope[c] = float(scale[c] * inverse);
    offset[c] = float(-scale[c] * inverse * sums[c] / n);
    tilt[c] = float(-scale[c] * inverse * inverse * inverse * sums[channels + c] / n);
  }
  auto slopes = Widen(s, slope), offsets = Widen(s, offset), tilts = Widen(s, tilt);
  auto write = [&](int64_t i, int64_t column, Floats v) {
    Floats centered = Load(x + i) - Load(&means[column]);
    Store(gx + i, v * Load(&slopes[column]) + centered * Load(&tilts[column]) + Load(&offsets[column]));
  };
  if (gresidual != nullptr) {
    ForEachVector(s, [&](int64_t i, int64_t column) {
      Floats v = passing(i);
      Store(gresidual + i, v);
      write(i, column, v);
    });
  } else {
    ForEachVector(s, [&](int64_t i, int64_t column) { write(i, column, passing(i)); });
  }
}

// Calls job(T*) with the type of the arrays.
template <typename Job>
std::string WithType(bool bf16, const Job& job) {
  return jax_resnet::Guarded([&] {
    std::lock_guard<std::mutex> lock(jax_resnet::mutex);
    jax_resnet::ThreadCount count(jax_resnet::threads);
    bf16 ? job(static_cast<BFloat16*>(nullptr)) : job(static_cast<float*>(nullptr));
  });
}

ffi::Error Answer(const std::string& failure) {
  return failure.empty() ? ffi::Error::Success() : ffi::Error::Internal("batch normalization: " + failure);
}

template <typename Buffer>
bool IsFloats(const Buffer& b, int64_t size) {
  return b.element_type() == ffi::DataType::F32 && int64_t(b.element_count()) == size;
}

template <typename A, typename B>
bool Alike(const A& a, const B& b) {
  return a.element_type() == b.element_type() && a.element_count() == b.element_count();
}

ffi::Error NormForward(float epsilon, int64_t relu, ffi::AnyBuffer x, ffi::AnyBuffer scale, ffi::AnyBuffer bias,
                       ffi::RemainingArgs rest, ffi::Result<ffi::AnyBuffer> y, ffi::Result<ffi::AnyBuffer> mean,
                       ffi::Result<ffi::AnyBuffer> var) {
  const int64_t channels = x.dimensions().back(), values = x.element_count();
  const void* residual = nullptr;
  bool fits = Alike(x, *y);
  for (auto* vector : {&scale, &bias, &*mean, &*var}) fits = fits && IsFloats(*vector, channels);
  if (rest.size() == 1) {
    auto buffer = rest.get<ffi::AnyBuffer>(0);
    fits = fits && buffer.has_value() && Alike(x, *buffer);
    if (fits) residual = buffer->untyped_data();
  }
  if (!fits) return ffi::Error::InvalidArgument("batch normalization: the arrays do not fit each other");
  return Answer(WithType(x.element_type() == ffi::DataType::BF16, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    Forward<T>(values, channels, {epsilon, relu != 0}, static_cast<const T*>(x.untyped_data()),
               scale.typed_data<float>(), bias.typed_data<float>(), static_cast<const T*>(residual),
               static_cast<T*>(y->untyped_data()), mean->typed_data<float>(), var->typed_data<float>());
  }));
}

ffi::Error NormBackward(float epsilon, int64_t relu, ffi::AnyBuffer g, ffi::AnyBuffer x, ffi::AnyBuffer y,
                        ffi::AnyBuffer scale, ffi::AnyBuffer mean, ffi::AnyBuffer var, ffi::Result<ffi::AnyBuffer> gx,
                        ffi::Result<ffi::AnyBuffer> gscale, ffi::Result<ffi::AnyBuffer> gbias,
                        ffi::RemainingRets rest) {
  const int64_t channels = x.dimensions().back(), values = x.element_count();
  void* gresidual = nullptr;
  bool fits = Alike(x, g) && Alike(x, y) && Alike(x, *gx);
  for (auto* vector : {&scale, &mean, &var, &*gscale, &*gbias}) fits = fits && IsFloats(*vector, channels);
  if (rest.size() == 1) {
    auto buffer = rest.get<ffi::AnyBuffer>(0);
    fits = fits && buffer.has_value() && Alike(x, **buffer);
    if (fits) gresidual = (*buffer)->untyped_data();
  }
  if (!fits) return ffi::Error::InvalidArgument("batch normalization: the arrays do not fit each other");
  return Answer(WithType(x.element_type() == ffi::DataType::BF16, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    Backward<T>(values, channels, {epsilon, relu != 0}, static_cast<const T*>(g.untyped_data()),
                static_cast<const T*>(x.untyped_data()), static_cast<const T*>(y.untyped_data()),
                scale.typed_data<float>(), mean.typed_data<float>(), var.typed_data<float>(),
                static_cast<T*>(gx->untyped_data()), gscale->typed_data<float>(), gbias->typed_data<float>(),
                static_cast<T*>(gresidual));
  }));
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

// Both on bare float32 pointers, for the self-test; they return 0 on success.
extern "C" int jax_resnet_norm_forward(int64_t values, int64_t channels, float epsilon, const float* x,
                                       const float* scale, const float* bias, const float* residual, float* y,
                                       float* mean, float* var) {
  return !WithType(false, [&](auto*) {
            Forward<float>(values, channels, {epsilon, true}, x, scale, bias, residual, y, mean, var);
          }).empty();
}

extern "C" int jax_resnet_norm_backward(int64_t values, int64_t channels, float epsilon, const float* g,
                                        const float* x, const float* y, const float* scale, const float* mean,
                                        const float* var, float* gx, float* gscale, float* gbias, float* gresidual) {
  return !WithType(false, [&](auto*) {
            Backward<float>(values, channels, {epsilon, true}, g, x, y, scale, mean, var, gx, gscale, gbias,
                            gresidual);
          }).empty();
}
