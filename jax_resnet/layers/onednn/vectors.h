// Vectors of numbers, in memory float32 or bfloat16, in registers float32: as wide as the processor's, because a
// compiler keeps wider ones in memory.

#ifndef JAX_RESNET_VECTORS_H_
#define JAX_RESNET_VECTORS_H_

#include <cstdint>

namespace jax_resnet {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes), aligned(4)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes), aligned(4)));
typedef uint16_t Halves __attribute__((vector_size(2 * kLanes), aligned(2)));

struct BFloat16 {
  uint16_t bits;
};

inline Floats Load(const float* p) { return *reinterpret_cast<const Floats*>(p); }
inline Floats Load(const BFloat16* p) {
  Words bits = __builtin_convertvector(*reinterpret_cast<const Halves*>(p), Words) << 16;
  return reinterpret_cast<Floats&>(bits);
}
inline float LoadOne(const float* p) { return *p; }
inline float LoadOne(const BFloat16* p) {
  uint32_t bits = uint32_t(p->bits) << 16;
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}
inline void Store(float* p, Floats v) { *reinterpret_cast<Floats*>(p) = v; }
inline void Store(BFloat16* p, Floats v) {
  Words bits = reinterpret_cast<Words&>(v);
  Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  rounded = (v == v) ? rounded : (bits >> 16 | 0x40);  // NaN stays NaN.
  *reinterpret_cast<Halves*>(p) = __builtin_convertvector(rounded, Halves);
}
inline Floats WherePositive(Floats condition, Floats v) { return condition > 0 ? v : Floats{}; }

}  // namespace jax_resnet

#endif  // JAX_RESNET_VECTORS_H_
