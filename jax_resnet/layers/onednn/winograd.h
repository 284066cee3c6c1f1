// 3x3 convolutions of stride 1 in float32 by Winograd's F(2x2, 3x3), as in Lavin and Gray 2016 (arXiv 1509.09308):
// 16 multiplications give four results, where a direct convolution takes 36.
//
// Images are cut into tiles of 2x2 results, for which 4x4 pixels are read. A transform makes 16 points of the
// pixels of a tile, another 16 points of each 3x3 kernel. Between them are 16 matrix products, a point each: of
// (tiles, channels) with (channels, features). A transform back makes results of the 16 points of the product.
// The input gradient is the same convolution with other weights; the weight gradient has the transposed steps.
//
// Tiles are processed in blocks whose points stay in the processor's caches. The number of threads changes no bit of
// a result, but decides whether this is faster than a direct convolution (`IsFast`), which rounds otherwise.

#ifndef JAX_RESNET_WINOGRAD_H_
#define JAX_RESNET_WINOGRAD_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "vectors.h"

namespace jax_resnet {
namespace winograd {

// Rows of the matrix product: their sums, two vectors each, stay in the 32 registers of AVX-512, or in 16.
constexpr int kRows = kLanes == 16 ? 12 : 6, kThird = kRows / 3;
#ifdef __FMA__
constexpr bool kFast = true;
#else
constexpr bool kFast = false;
#endif

constexpr int64_t kPoints = 16, kPanel = 2 * kLanes;
// Measured: tiles of a block, features of a block, and bytes of points per thread for the weight gradient.
constexpr int64_t kBlockTiles = 48, kBlockFeatures = 64, kBlockBytes = 1 << 20;
// The most that the weight gradient's sums may take, if they are more than one.
constexpr int64_t kSumBytes = 1 << 26;

// A convolution from images of `inputs` channels to `rows` x `columns` pixels of `features` channels.
struct Geometry {
  int64_t images, height, width, inputs, rows, columns, features, top, left;

  int64_t wide() const { return (columns + 1) / 2; }
  int64_t each() const { return (rows + 1) / 2 * wide(); }
  int64_t tiles() const { return images * each(); }
};

// Where a tile begins among the results.
struct Tile {
  Tile(const Geometry& g, int64_t t) : image(t / g.each()), h(t % g.each() / g.wide() * 2), w(t % g.wide() * 2) {}
  int64_t image, h, w;
};

struct Epilogue {
  const float *bias = nullptr, *residual = nullptr;
  bool relu = false;
};

// Distance between two points of an array: not a power of two, which would put all into the same lines of a cache.
inline int64_t PointStride(int64_t values) { return values + kLanes; }
inline int64_t RoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// (R, V * 16) = (R, depth) times (depth, V * 16); added to what is there if `add`.
template <int R, int V>
void Product(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step, int64_t depth, float* c,
             int64_t c_row, bool add) {
  Floats sum[R][V];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[r][v] = Floats{};
  for (int64_t k = 0; k < depth; ++k, a += a_step, b += b_step) {
    Floats right[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) right[v] = Load(b + v * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[r][v] += a[r * a_row] * right[v];
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      float* to = c + r * c_row + v * kLanes;
      Store(to, add ? Load(to) + sum[r][v] : sum[r][v]);
    }
}

// Any multiple of kThird rows, one or two vectors of columns; kThird rows alone keep too few sums in flight.
template <int V>
void Products(int64_t rows, const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step,
              int64_t depth, float* c, int64_t c_row, bool add) {
  for (int64_t r = 0, taken; r < rows; r += taken) {
    const int64_t left = (rows - r) / kThird;
    taken = (left >= 3 && left != 4 ? 3 : left >= 2 ? 2 : 1) * kThird;
    auto product = taken == kRows ? Product<kRows, V> : taken == kThird ? Product<kThird, V> : Product<2 * kThird, V>;
    product(a + r * a_row, a_row, a_step, b, b_step, depth, c + r * c_row, c_row, add);
  }
}

inline void Products(int64_t columns, int64_t rows, const float* a, int64_t a_row, int64_t a_step, const float* b,
                     int64_t b_step, int64_t depth, float* c, int64_t c_row, bool add) {
  (columns == kPanel ? Products<2> : Products<1>)(rows, a, a_row, a_step, b, b_step, depth, c, c_row, add);
}

// The points of the pixels of a tile: B' d B.
template <typename Pixel>
void PointsOfPixels(const Pixel& pixel, float* points, int64_t stride) {
  Floats m[4][4];
  for (int j = 0; j < 4; ++j) {
    Floats d0 = pixel(0, j), d1 = pixel(1, j), d2 = pixel(2, j), d3 = pixel(3, j);
    m[0][j] = d0 - d2;
    m[1][j] = d1 + d2;
    m[2][j] = d2 - d1;
    m[3][j] = d1 - d3;
  }
  for (int i = 0; i < 4; ++i) {
    float* to = points + 4 * i * stride;
    Store(to, m[i][0] - m[i][2]);
    Store(to + stride, m[i][1] + m[i][2]);
    Store(to + 2 * stride, m[i][2] - m[i][1]);
    Store(to + 3 * stride, m[i][1] - m[i][3]);
  }
}

// The points of a tile of images, (point, channels); pixels outside are zeros.
inline void ReadTile(const Geometry& g, const float* x, int64_t t, float* points, int64_t stride) {
  Tile tile(g, t);
  int64_t h = tile.h - g.top, w = tile.w - g.left, row = g.width * g.inputs;
  const float* from = x + (tile.image * g.height + h) * row + w * g.inputs;
  auto pixel = [&](int i, int j, int64_t c) { return Load(from + i * row + j * g.inputs + c); };
  auto checked = [&](int i, int j, int64_t c) {
    bool inside = h + i >= 0 && h + i < g.height && w + j >= 0 && w + j < g.width;
    return inside ? pixel(i, j, c) : Floats{};
  };
  bool inside = h >= 0 && w >= 0 && h + 4 <= g.height && w + 4 <= g.width;
  for (int64_t c = 0; c < g.inputs; c += kLanes) {
    if (inside) {
      PointsOfPixels([&](int i, int j) { return pixel(i, j, c); }, points + c, stride);
    } else {
      PointsOfPixels([&](int i, int j) { return checked(i, j, c); }, points + c, stride);
    }
  }
}

// The points of some features of a tile of the result's gradient, (point, features): A dy A'.
inline void ReadGradientTile(const Geometry& g, const float* dy, int64_t t, int64_t start, int64_t end, float* points,
                             int64_t stride) {
  Tile tile(g, t);
  int64_t row = g.columns * g.features;
  const float* from = dy + (tile.image * g.rows + tile.h) * row + tile.w * g.features;
  bool below = tile.h + 1 < g.rows, right = tile.w + 1 < g.columns;
  for (int64_t k = start; k < end; k += kLanes) {
    Floats d[2][2] = {}, m[4][2];
    d[0][0] = Load(from + k);
    if (right) d[0][1] = Load(from + g.features + k);
    if (below) d[1][0] = Load(from + row + k);
    if (below && right) d[1][1] = Load(from + row + g.features + k);
    for (int j = 0; j < 2; ++j) {
      m[0][j] = d[0][j];
      m[1][j] = d[0][j] + d[1][j];
      m[2][j] = d[0][j] - d[1][j];
      m[3][j] = -d[1][j];
    }
    for (int i = 0; i < 4; ++i) {
      float* to = points + 4 * i * stride + k - start;
      Store(to, m[i][0]);
      Store(to + stride, m[i][0] + m[i][1]);
      Store(to + 2 * stride, m[i][0] - m[i][1]);
      Store(to + 3 * stride, -m[i][1]);
    }
  }
}

// Writes the features from `first` on of a tile of the result from their points: A' m A, and what follows.
inline void WriteTile(const Geometry& g, const float* points, int64_t stride, int64_t t, int64_t first, int64_t features,
                      float* y, const Epilogue& e) {
  Tile tile(g, t);
  int64_t row = g.columns * g.features;
  int64_t place = (tile.image * g.rows + tile.h) * row + tile.w * g.features + first;
  bool below = tile.h + 1 < g.rows, right = tile.w + 1 < g.columns;
  for (int64_t k = 0; k < features; k += kLanes) {
    Floats m[2][4];
    for (int j = 0; j < 4; ++j) {
      auto point = [&](int i) { return Load(points + (4 * i + j) * stride + k); };
      m[0][j] = point(0) + point(1) + point(2);
      m[1][j] = point(1) - point(2) - point(3);
    }
    auto write = [&](int64_t at, Floats v) {
      if (e.bias != nullptr) v += Load(e.bias + first + k);
      if (e.residual != nullptr) v += Load(e.residual + at);
      Store(y + at, e.relu ? (v <= 0 ? Floats{} : v) : v);  // NaN passes.
    };
    write(place + k, m[0][0] + m[0][1] + m[0][2]);
    if (right) write(place + g.features + k, m[0][1] - m[0][2] - m[0][3]);
    if (below) write(place + row + k, m[1][0] + m[1][1] + m[1][2]);
    if (below && right) write(place + row + g.features + k, m[1][1] - m[1][2] - m[1][3]);
  }
}

// Weights are in panels of two vectors of features, the last of one where that is left: (panel, point, input, feature).
inline int64_t PanelWidth(int64_t features, int64_t feature) {
  return std::min(kPanel, features - feature / kPanel * kPanel);
}
inline float* PanelPlace(float* u, int64_t inputs, int64_t features, int64_t point, int64_t input, int64_t feature) {
  int64_t start = feature / kPanel * kPanel, width = PanelWidth(features, feature);
  return u + start * kPoints * inputs + (point * inputs + input) * width + feature - start;
}

// The points of kernels (3, 3, inputs, features), G g G'. Called by all threads of a team. For an input gradient
// the kernels are turned by 180 degrees, which exchanges points 0 and 3 of each axis, and inputs are features.
template <bool kTurned>
void PointsOfWeights(const float* w, int64_t inputs, int64_t features, float* u) {
#pragma omp for schedule(static)
  for (int64_t start = 0; start < inputs; start += kLanes)
    for (int64_t k = 0; k < features; k += kLanes) {
      alignas(64) float turned[kTurned ? kPoints : 1][kLanes][kLanes];
      for (int64_t c = 0; c < kLanes; ++c) {
        Floats m[4][3];
        for (int j = 0; j < 3; ++j) {
          auto tap = [&](int i) { return Load(w + ((3 * i + j) * inputs + start + c) * features + k); };
          Floats even = 0.5f * (tap(0) + tap(2)), odd = 0.5f * tap(1);
          m[0][j] = tap(0);
          m[1][j] = even + odd;
          m[2][j] = even - odd;
          m[3][j] = tap(2);
        }
        auto put = [&](int i, int j, Floats v) {
          const int other[4] = {3, 1, 2, 0};
          Store(kTurned ? turned[4 * other[i] + other[j]][c]
                        : PanelPlace(u, inputs, features, 4 * i + j, start + c, k), v);
        };
        for (int i = 0; i < 4; ++i) {
          Floats even = 0.5f * (m[i][0] + m[i][2]), odd = 0.5f * m[i][1];
          put(i, 0, m[i][0]);
          put(i, 1, even + odd);
          put(i, 2, even - odd);
          put(i, 3, m[i][2]);
        }
      }
      for (int64_t point = 0; kTurned && point < kPoints; ++point)
        for (int64_t feature = 0; feature < kLanes; ++feature) {
          Floats column;
          for (int c = 0; c < kLanes; ++c) column[c] = turned[point][c][feature];
          Store(PanelPlace(u, features, inputs, point, k + feature, start), column);
        }
    }
}

// Whether it is faster than a direct convolution on so many threads: with enough tiles for each, and with enough
// channels to pay for the transforms (measured: with 16 it is level, with 32 it is faster).
inline bool IsFast(const Geometry& g, int threads) {
  bool vectors = g.inputs % kLanes == 0 && g.features % kLanes == 0;
  return kFast && vectors && std::min(g.inputs, g.features) >= 32 && g.tiles() >= 32 * threads;
}

inline int64_t ForwardFloats(const Geometry& g, int threads) {
  int64_t points = PointStride(kBlockTiles * g.inputs) + PointStride(kBlockTiles * kBlockFeatures);
  return kPoints * (g.inputs * g.features + threads * points);
}

// y = x * w and what follows; if `turned`, the input gradient from x, the gradient of the result.
inline void Forward(const Geometry& g, const float* x, const float* w, float* y, bool turned, const Epilogue& e,
                    float* scratch, int threads) {
  int64_t tiles = g.tiles(), read = PointStride(kBlockTiles * g.inputs);
  int64_t written = PointStride(kBlockTiles * kBlockFeatures);
  float *u = scratch, *free = scratch + kPoints * g.inputs * g.features;
#pragma omp parallel num_threads(threads)
  {
    turned ? PointsOfWeights<true>(w, g.features, g.inputs, u) : PointsOfWeights<false>(w, g.inputs, g.features, u);
#pragma omp for schedule(static)
    for (int thread = 0; thread < threads; ++thread) {
      float *v = free + thread * kPoints * (read + written), *m = v + kPoints * read;
      for (int64_t first = thread * kBlockTiles; first < tiles; first += threads * kBlockTiles) {
        int64_t count = std::min(kBlockTiles, tiles - first), rows = RoundUp(count, kThird);
        for (int64_t t = 0; t < count; ++t) ReadTile(g, x, first + t, v + t * g.inputs, read);
        for (int64_t start = 0; start < g.features; start += kBlockFeatures) {
          int64_t features = std::min(kBlockFeatures, g.features - start);
          for (int64_t point = 0; point < kPoints; ++point)
            for (int64_t k = 0; k < features; k += kPanel) {
              int64_t width = PanelWidth(g.features, start + k);
              Products(width, rows, v + point * read, g.inputs, 1,
                       PanelPlace(u, g.inputs, g.features, point, 0, start + k), width, g.inputs,
                       m + point * written + k, features, false);
            }
          for (int64_t t = 0; t < count; ++t)
            WriteTile(g, m + t * features, written, first + t, start, features, y, e);
        }
      }
    }
  }
}

// How the weight gradient is spread: chunks of tiles, whose sums are added in the end, times ranges of features.
// Chunks and blocks, and so every sum's order, do not depend on the number of threads.
struct Spread {
  Spread(const Geometry& g, int threads) {
    const int64_t fit = kSumBytes / (4 * kPoints * g.inputs * g.features);
    chunks = std::clamp<int64_t>(std::min(g.tiles() / 1024, fit), 1, 16);
    chunk = RoundUp(g.tiles(), chunks) / chunks;
    int64_t panels = RoundUp(g.features, kPanel) / kPanel;
    ranges = std::min(panels, threads / std::gcd(chunks, int64_t(threads)));
    range = RoundUp(panels, ranges) / ranges * kPanel;
    block = std::clamp<int64_t>(kBlockBytes / (4 * kPoints * (g.inputs + g.features)), 64, 256);
    of_x = PointStride(block * g.inputs);
    of_dy = PointStride(block * range);
    of_w = PointStride(g.inputs * g.features);
  }
  int64_t chunks, chunk, ranges, range, block;
  int64_t of_x, of_dy, of_w;  // Distances between points.
};

// Kernels (3, 3, inputs, features) from the points of their gradients, (chunk, point, inputs, features): G' u G.
inline void WeightsOfPoints(const float* u, const Spread& s, int64_t size, float* w) {
#pragma omp for schedule(static)
  for (int64_t at = 0; at < size; at += kLanes) {
    Floats m[3][4];
    for (int j = 0; j < 4; ++j) {
      auto point = [&](int i) {
        const float* from = u + (4 * i + j) * s.of_w + at;
        Floats sum = Load(from);
        for (int64_t chunk = 1; chunk < s.chunks; ++chunk) sum += Load(from + chunk * kPoints * s.of_w);
        return sum;
      };
      Floats first = point(0), second = point(1), third = point(2), last = point(3);
      m[0][j] = first + 0.5f * (second + third);
      m[1][j] = 0.5f * (second - third);
      m[2][j] = 0.5f * (second + third) + last;
    }
    for (int i = 0; i < 3; ++i) {
      Floats plus = 0.5f * (m[i][1] + m[i][2]), minus = 0.5f * (m[i][1] - m[i][2]);
      float* to = w + 3 * i * size + at;
      Store(to, m[i][0] + plus);
      Store(to + size, minus);
      Store(to + 2 * size, plus + m[i][3]);
    }
  }
}

inline int64_t WeightGradientFloats(const Geometry& g, int threads) {
  Spread s(g, threads);
  return kPoints * (s.chunks * s.of_w + threads * (s.of_x + s.of_dy));
}

// The gradient of w from x and the gradient of the result.
inline void WeightGradient(const Geometry& g, const float* x, const float* dy, float* w, float* scratch, int threads) {
  const Spread s(g, threads);
  const int64_t tasks = s.chunks * s.ranges;
  float *sums = scratch, *free = scratch + s.chunks * kPoints * s.of_w;
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(static)
    for (int thread = 0; thread < threads; ++thread) {
      float *v = free + thread * kPoints * (s.of_x + s.of_dy), *z = v + kPoints * s.of_x;
      for (int64_t task = tasks * thread / threads; task < tasks * (thread + 1) / threads; ++task) {
        int64_t start = task % s.ranges * s.range, end = std::min(start + s.range, g.features);
        int64_t first = task / s.ranges * s.chunk, last = std::min(first + s.chunk, g.tiles());
        float* u = sums + task / s.ranges * kPoints * s.of_w;
        for (int64_t from = first; from < last; from += s.block) {
          int64_t count = std::min(s.block, last - from);
          for (int64_t t = 0; t < count; ++t) {
            ReadTile(g, x, from + t, v + t * g.inputs, s.of_x);
            ReadGradientTile(g, dy, from + t, start, end, z + t * s.range, s.of_dy);
          }
          for (int64_t point = 0; point < kPoints; ++point)
            for (int64_t k = start; k < end; k += kPanel)
              Products(PanelWidth(g.features, k), g.inputs, v + point * s.of_x, 1, g.inputs,
                       z + point * s.of_dy + k - start, s.range, count, u + point * s.of_w + k, g.features, from > first);
        }
      }
    }
    WeightsOfPoints(sums, s, g.inputs * g.features, w);
  }
}

}  // namespace winograd
}  // namespace jax_resnet

#endif  // JAX_RESNET_WINOGRAD_H_
