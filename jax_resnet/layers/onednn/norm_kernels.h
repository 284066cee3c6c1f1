// Batch normalization with residual and ReLU, forward and backward, each in two passes over memory.
//
// Arrays are (rows, channels), float32 or bfloat16; statistics and parameters are float32. Memory is
// read as "wide" rows: as many rows side by side as fill 64 columns, or one row where it has more. One
// thread sums a chunk of wide rows, tile by tile: floats within a tile, doubles across tiles, in an order
// that does not depend on the number of threads.

#ifndef JAX_RESNET_NORM_KERNELS_H_
#define JAX_RESNET_NORM_KERNELS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "vectors.h"

namespace jax_resnet {

constexpr int64_t kWide = 64, kTileRows = 64, kMaxChunks = 64;

struct Shape {
  int64_t channels, repeats, columns, rows;  // Of wide rows: columns = channels * repeats.
  int64_t chunk, chunks;                     // Wide rows per chunk, number of chunks.

  Shape(int64_t values, int64_t c) : channels(c), repeats(kWide % c == 0 ? kWide / c : 1), columns(c * repeats) {
    rows = values / columns;
    chunk = std::max<int64_t>(kTileRows, (rows + kMaxChunks - 1) / kMaxChunks);
    chunks = (rows + chunk - 1) / chunk;
  }
  int64_t count() const { return rows * repeats; }
};

// One value per channel, repeated to the width of the wide rows.
template <typename Number>
std::vector<Number> Widen(const Shape& s, const std::vector<Number>& v) {
  std::vector<Number> wide(s.columns);
  for (int64_t i = 0; i < s.columns; ++i) wide[i] = v[i % s.channels];
  return wide;
}

// Two sums per channel. `add(vectors, row, end, column, first, second)` adds a tile's part, of the rows
// from `row` to `end` and `vectors` vectors of columns, to the doubles at `first` and `second`.
template <int V, typename Add>
std::vector<double> SumTiles(const Shape& s, const Add& add) {
  std::vector<double> partial(s.chunks * 2 * s.columns, 0.0);
#pragma omp parallel for schedule(static)
  for (int64_t chunk = 0; chunk < s.chunks; ++chunk) {
    double* into = &partial[chunk * 2 * s.columns];
    int64_t last = std::min((chunk + 1) * s.chunk, s.rows);
    for (int64_t row = chunk * s.chunk; row < last; row += kTileRows)
      for (int64_t column = 0; column < s.columns; column += V * kLanes)
        add(std::integral_constant<int, V>(), row, std::min(row + kTileRows, last), column, into + column,
            into + s.columns + column);
  }
  std::vector<double> sums(2 * s.channels, 0.0);
  for (int64_t chunk = 0; chunk < s.chunks; ++chunk)
    for (int64_t i = 0; i < 2 * s.columns; ++i)
      sums[i / s.columns * s.channels + i % s.columns % s.channels] += partial[chunk * 2 * s.columns + i];
  return sums;
}

template <typename Add>
std::vector<double> Sums(const Shape& s, const Add& add) {
  return s.columns % kWide ? SumTiles<1>(s, add) : SumTiles<kWide / kLanes>(s, add);
}

template <typename Work>
void ForEachVector(const Shape& s, const Work& work) {
#pragma omp parallel for schedule(static)
  for (int64_t chunk = 0; chunk < s.chunks; ++chunk)
    for (int64_t row = chunk * s.chunk; row < std::min((chunk + 1) * s.chunk, s.rows); ++row)
      for (int64_t column = 0; column < s.columns; column += kLanes) work(row * s.columns + column, column);
}

// A value near the mean of the rows of a tile: the mean of the first eight, each scaled before the sum so
// that it cannot overflow.
template <typename T>
Floats NearMean(const T* x, int64_t rows, int64_t columns) {
  if (rows < 8) return Load(x);
  auto part = [&](int64_t row) { return Load(x + row * columns) * 0.125f; };
  return ((part(0) + part(1)) + (part(2) + part(3))) + ((part(4) + part(5)) + (part(6) + part(7)));
}

// The mean and the biased variance of each channel.
//
// The mean of k of n values is at most sqrt(n / k - 1) standard deviations away from the mean of all.
// Within a tile, floats are summed about the mean of 8 of its at most 64 rows: at most 3 bits cancel,
// wherever the outliers are. Across tiles, doubles are summed about the first row.
template <typename T>
void Moments(const Shape& s, const T* x, float* mean, float* var) {
  std::vector<double> first(s.channels);
  for (int64_t c = 0; c < s.channels; ++c) first[c] = LoadOne(x + c);
  auto origin = Widen(s, first);
  auto sums = Sums(s, [&](auto vectors, int64_t row, int64_t end, int64_t column, double* total, double* squares) {
    constexpr int V = decltype(vectors)::value;
    const T* tile = x + row * s.columns + column;
    const double n = double(end - row), inverse = 1 / n;
    Floats shift[V], sum[V] = {}, square[V] = {};
    for (int v = 0; v < V; ++v) shift[v] = NearMean(tile + v * kLanes, end - row, s.columns);
    for (int64_t i = 0; i < end - row; ++i)
      for (int v = 0; v < V; ++v) {
        Floats d = Load(tile + i * s.columns + v * kLanes) - shift[v];
        sum[v] += d;
        square[v] += d * d;
      }
    for (int v = 0; v < V; ++v)
      for (int lane = 0; lane < kLanes; ++lane) {
        const int64_t i = v * kLanes + lane;
        const double offset = sum[v][lane] * inverse, center = shift[v][lane] - origin[column + i] + offset;
        total[i] += center * n;
        squares[i] += square[v][lane] - offset * offset * n + center * center * n;
      }
  });
  const double n = double(s.count());
  for (int64_t c = 0; c < s.channels; ++c) {
    const double offset = sums[c] / n;
    mean[c] = float(first[c] + offset);
    var[c] = float(std::max(sums[s.channels + c] / n - offset * offset, 0.0));
  }
}

struct Parameters {
  float epsilon;
  bool relu;
};

template <typename T>
void Forward(int64_t values, int64_t channels, Parameters p, const T* x, const float* scale, const float* bias,
             const T* residual, T* y, float* mean, float* var) {
  Shape s(values, channels);
  Moments(s, x, mean, var);
  std::vector<float> slope(channels);
  for (int64_t c = 0; c < channels; ++c) slope[c] = scale[c] / std::sqrt(var[c] + p.epsilon);
  auto means = Widen<float>(s, {mean, mean + channels}), slopes = Widen(s, slope);
  auto biases = Widen<float>(s, {bias, bias + channels});
  auto normalized = [&](int64_t i, int64_t column) {
    return (Load(x + i) - Load(&means[column])) * Load(&slopes[column]) + Load(&biases[column]);
  };
  // NaN passes the ReLU, as it does in JAX.
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
  auto means = Widen<float>(s, {mean, mean + channels});
  auto passing = [&](int64_t i) { return p.relu ? WherePositive(Load(y + i), Load(g + i)) : Load(g + i); };
  auto sums = Sums(s, [&](auto vectors, int64_t row, int64_t end, int64_t column, double* totals, double* products) {
    constexpr int V = decltype(vectors)::value;
    Floats total[V] = {}, product[V] = {};
    for (; row < end; ++row)
      for (int v = 0; v < V; ++v) {
        const int64_t j = column + v * kLanes, i = row * s.columns + j;
        Floats passed = passing(i);
        total[v] += passed;
        product[v] += passed * (Load(x + i) - Load(&means[j]));
      }
    for (int v = 0; v < V; ++v)
      for (int lane = 0; lane < kLanes; ++lane) {
        totals[v * kLanes + lane] += total[v][lane];
        products[v * kLanes + lane] += product[v][lane];
      }
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

}  // namespace jax_resnet

#endif  // JAX_RESNET_NORM_KERNELS_H_
