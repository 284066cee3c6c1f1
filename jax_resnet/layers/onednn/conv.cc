// Convolution by oneDNN as a call of XLA on CPU: forward, input gradient and weight gradient, and for inference
// forward with what follows it: a bias, a residual, ReLU.
//
// Activations are NHWC, weights HWIO, float32 or bfloat16, a bias float32. An array of 25 integers describes a
// problem, see `Problem`; the Python side is conv/native.py. Calls run one after another: each uses all threads.
// 3x3 convolutions of float32 may be computed by winograd.h instead, where that is faster.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"
#include "runtime.h"
#include "weights.h"
#include "winograd.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using dnnl::memory;
using dims = memory::dims;
using jax_resnet::Guarded;
using jax_resnet::ThreadCount;
using jax_resnet::mutex;
using jax_resnet::threads;
namespace winograd = jax_resnet::winograd;

namespace {

enum Kind { kForward = 0, kInputGradient = 1, kWeightGradient = 2 };

// What follows a forward convolution, a bit each.
enum Epilogue { kBias = 1, kResidual = 2, kRelu = 4 };

constexpr int kProblemSize = 25;
constexpr size_t kCacheEntries = 256;
constexpr size_t kAlignment = 64;

struct Problem {
  explicit Problem(const int64_t* p)
      : kind(Kind(p[0])), type(p[1] ? memory::data_type::bf16 : memory::data_type::f32), groups(p[2]),
        x(p + 3, p + 7), w(p + 7, p + 11), y(p + 11, p + 15), strides(p + 15, p + 17),
        dilation{p[17] - 1, p[18] - 1}, before(p + 19, p + 21), after(p + 21, p + 23), epilogue(p[23]), direct(p[24]) {}

  Kind kind;
  memory::data_type type;
  int64_t groups;
  dims x, w, y;  // NHWC, HWIO (I of one group), NHWC
  dims strides, dilation, before, after;
  int64_t epilogue;
  bool direct;  // Not by Winograd's algorithm.
};

// One of the three arrays: in the caller's layout, and in the one that the primitive wants.
struct Operand {
  memory given, wanted;
  dnnl::primitive reorder;
  std::optional<jax_resnet::WeightLayout> copy;  // Instead of the reorder.
  bool reordered = false;
  size_t offset = 0;
};

struct Entry {
  std::optional<winograd::Geometry> tiled;  // By Winograd's algorithm; else by oneDNN.
  dnnl::primitive conv;
  Operand x, w, y;
  memory bias, scratchpad;
  size_t scratchpad_offset = 0, bytes = 0;
};

dnnl::engine& Engine() {
  static auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

size_t Reserve(Entry& entry, size_t bytes) {
  size_t offset = entry.bytes;
  entry.bytes += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return offset;
}

void Connect(Entry& entry, Operand& operand, const memory::desc& given, const memory::desc& wanted, bool output) {
  operand.given = memory(given, Engine(), nullptr);
  operand.wanted = memory(wanted, Engine(), nullptr);
  operand.reordered = given != wanted;
  if (!operand.reordered) return;
  operand.reorder = output ? dnnl::reorder(operand.wanted, operand.given) : dnnl::reorder(operand.given, operand.wanted);
  operand.offset = Reserve(entry, wanted.get_size());
}

// The tiles of a convolution that Winograd's algorithm computes faster.
std::optional<winograd::Geometry> Tiled(const Problem& p) {
  bool plain = p.strides == dims{1, 1} && p.dilation == dims{0, 0} && p.groups == 1 && p.w[0] == 3 && p.w[1] == 3;
  if (!plain || p.direct || p.type != memory::data_type::f32) return std::nullopt;
  winograd::Geometry g{p.x[0], p.x[1], p.x[2], p.x[3], p.y[1], p.y[2], p.y[3], p.before[0], p.before[1]};
  // The input gradient is a convolution of the result's gradient.
  if (p.kind == kInputGradient)
    g = {p.y[0], p.y[1], p.y[2], p.y[3], p.x[1], p.x[2], p.x[3], 2 - p.before[0], 2 - p.before[1]};
  return winograd::IsFast(g, threads) ? std::optional(g) : std::nullopt;
}

Entry Prepare(const Problem& p) {
  using dnnl::algorithm;
  if (p.epilogue != 0 && p.kind != kForward) throw dnnl::error(dnnl_invalid_arguments, "an epilogue of a gradient");
  Entry entry;
  if ((entry.tiled = Tiled(p))) {
    auto floats = p.kind == kWeightGradient ? winograd::WeightGradientFloats : winograd::ForwardFloats;
    entry.bytes = sizeof(float) * floats(*entry.tiled, threads);
    return entry;
  }
  int64_t height = p.w[0], width = p.w[1], inputs = p.w[2], outputs = p.w[3], each = outputs / p.groups;
  dims logical = {outputs, inputs, height, width}, steps = {1, outputs, width * inputs * outputs, inputs * outputs};
  if (p.groups > 1) {
    logical = {p.groups, each, inputs, height, width};
    steps.insert(steps.begin(), each);
  }
  memory::desc x({p.x[0], p.x[3], p.x[1], p.x[2]}, p.type, memory::format_tag::nhwc);
  memory::desc y({p.y[0], p.y[3], p.y[1], p.y[2]}, p.type, memory::format_tag::nhwc);
  memory::desc w(logical, p.type, steps);
  // Only the weights may get another layout: they are small.
  memory::desc any(logical, p.type, memory::format_tag::any);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const auto direct = algorithm::convolution_direct;

  // The result starts as the residual, which the convolution is added to.
  dnnl::post_ops after;
  if (p.epilogue & kResidual) after.append_sum();
  if (p.epilogue & kRelu) after.append_eltwise(algorithm::eltwise_relu, 0, 0);
  attributes.set_post_ops(after);
  memory::desc bias;
  if (p.epilogue & kBias) bias = memory::desc({outputs}, memory::data_type::f32, memory::format_tag::x);
  const auto use = p.epilogue ? dnnl::prop_kind::forward_inference : dnnl::prop_kind::forward_training;
  dnnl::convolution_forward::primitive_desc forward(Engine(), use, direct, x, any, bias, y, p.strides, p.dilation,
                                                    p.before, p.after, attributes);
  auto finish = [&](const auto& descriptor, const memory::desc& wx, const memory::desc& ww, const memory::desc& wy) {
    // oneDNN's reference kernel, for what no other covers, is slower than plain XLA.
    if (std::string(descriptor.impl_info_str()).find("ref") != std::string::npos)
      throw dnnl::error(dnnl_unimplemented, "no fast kernel");
    Connect(entry, entry.x, x, wx, p.kind == kInputGradient);
    Connect(entry, entry.w, w, ww, p.kind == kWeightGradient);
    Connect(entry, entry.y, y, wy, p.kind == kForward);
    if (entry.w.reordered && p.kind != kWeightGradient) entry.w.copy = jax_resnet::WeightLayout::Of(ww);
    entry.scratchpad = memory(descriptor.scratchpad_desc(), Engine(), nullptr);
    entry.scratchpad_offset = Reserve(entry, descriptor.scratchpad_desc().get_size());
  };
  if (p.kind == kForward) {
    finish(forward, forward.src_desc(), forward.weights_desc(), forward.dst_desc());
    entry.conv = dnnl::convolution_forward(forward);
    if (p.epilogue & kBias) entry.bias = memory(bias, Engine(), nullptr);
  } else if (p.kind == kInputGradient) {
    dnnl::convolution_backward_data::primitive_desc backward(Engine(), direct, x, any, y, p.strides, p.dilation,
                                                             p.before, p.after, forward, attributes);
    finish(backward, backward.diff_src_desc(), backward.weights_desc(), backward.diff_dst_desc());
    entry.conv = dnnl::convolution_backward_data(backward);
  } else {
    dnnl::convolution_backward_weights::primitive_desc backward(Engine(), direct, x, any, y, p.strides, p.dilation,
                                                                p.before, p.after, forward, attributes);
    finish(backward, backward.src_desc(), backward.diff_weights_desc(), backward.diff_dst_desc());
    entry.conv = dnnl::convolution_backward_weights(backward);
  }
  return entry;
}

// Returns the prepared primitive; the least recently used one makes room. The caller holds the mutex.
Entry& Lookup(const int64_t* problem) {
  using Key = std::vector<int64_t>;
  using Entries = std::list<std::pair<Key, Entry>>;
  static auto* entries = new Entries;
  static auto* index = new std::map<Key, Entries::iterator>;
  Key key(problem, problem + kProblemSize);
  auto found = index->find(key);
  if (found != index->end()) {
    entries->splice(entries->begin(), *entries, found->second);
    return entries->front().second;
  }
  entries->emplace_front(key, Prepare(Problem(problem)));
  (*index)[key] = entries->begin();
  if (entries->size() > kCacheEntries) {
    index->erase(entries->back().first);
    entries->pop_back();
  }
  return entries->front().second;
}

// One buffer for the temporaries of all convolutions: they run one after another.
char* Scratch(size_t bytes) {
  static char* buffer = nullptr;
  static size_t size = 0;
  if (bytes > size) {
    std::free(buffer);
    size = 0;
    buffer = static_cast<char*>(std::aligned_alloc(kAlignment, bytes));
    if (buffer == nullptr) throw std::bad_alloc();
    size = bytes;
  }
  return buffer;
}

void RunTiled(const winograd::Geometry& g, const int64_t* problem, void* a, void* b, void* out, void* bias,
              void* residual, char* scratch) {
  auto floats = [](void* data) { return static_cast<float*>(data); };
  auto free = reinterpret_cast<float*>(scratch);
  if (problem[0] == kWeightGradient) {
    winograd::WeightGradient(g, floats(a), floats(b), floats(out), free, threads);
  } else {
    winograd::Epilogue epilogue{floats(bias), floats(residual), bool(problem[23] & kRelu)};
    winograd::Forward(g, floats(a), floats(b), floats(out), problem[0] == kInputGradient, epilogue, free, threads);
  }
}

void Run(const int64_t* problem, void* a, void* b, void* out, void* bias = nullptr, void* residual = nullptr) {
  std::lock_guard<std::mutex> lock(mutex);
  ThreadCount count(threads);
  static auto* stream = new dnnl::stream(Engine());
  Kind kind = Kind(problem[0]);
  Entry& entry = Lookup(problem);
  char* scratch = Scratch(entry.bytes);
  if (entry.tiled) return RunTiled(*entry.tiled, problem, a, b, out, bias, residual, scratch);
  auto place = [&](Operand& operand, void* data) {
    operand.given.set_data_handle(data);
    operand.wanted.set_data_handle(operand.reordered ? scratch + operand.offset : data);
  };
  place(entry.x, kind == kInputGradient ? out : a);
  place(entry.w, kind == kWeightGradient ? out : b);
  place(entry.y, kind == kForward ? out : kind == kInputGradient ? a : b);
  entry.scratchpad.set_data_handle(scratch + entry.scratchpad_offset);

  if (bias != nullptr) entry.bias.set_data_handle(bias);
  // XLA gives both the same place where it can.
  if (residual != nullptr && residual != out) std::memcpy(out, residual, entry.y.given.get_desc().get_size());

  Operand& result = kind == kForward ? entry.y : kind == kInputGradient ? entry.x : entry.w;
  for (Operand* operand : {&entry.x, &entry.w, &entry.y}) {
    if (!operand->reordered || operand == &result) continue;
    if (operand->copy) {
      operand->copy->FromHwio(operand->given.get_data_handle(), operand->wanted.get_data_handle());
    } else {
      operand->reorder.execute(*stream, {{DNNL_ARG_FROM, operand->given}, {DNNL_ARG_TO, operand->wanted}});
    }
  }
  std::unordered_map<int, memory> arguments = {
      {kind == kInputGradient ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, entry.x.wanted},
      {kind == kWeightGradient ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, entry.w.wanted},
      {kind == kForward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, entry.y.wanted},
      {DNNL_ARG_SCRATCHPAD, entry.scratchpad}};
  if (bias != nullptr) arguments.emplace(DNNL_ARG_BIAS, entry.bias);
  entry.conv.execute(*stream, arguments);
  if (result.reordered)
    result.reorder.execute(*stream, {{DNNL_ARG_FROM, result.wanted}, {DNNL_ARG_TO, result.given}});
  stream->wait();
}

bool Fits(const ffi::AnyBuffer& buffer, const dims& shape) {
  auto given = buffer.dimensions();
  return dims(given.begin(), given.end()) == shape;
}

ffi::Error ToFfiError(const std::string& failure) {
  if (failure.empty()) return ffi::Error::Success();
  return ffi::Error::Internal("convolution by oneDNN: " + failure);
}

ffi::Error Mismatch() {
  return ffi::Error::InvalidArgument("convolution: the arrays are not those of the problem");
}

ffi::Error Conv(ffi::Span<const int64_t> problem, ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> out) {
  if (problem.size() != kProblemSize) return ffi::Error::InvalidArgument("convolution: not a problem");
  Problem p(problem.begin());
  if (p.epilogue != 0) return Mismatch();
  const dims& first = p.kind == kInputGradient ? p.y : p.x;
  const dims& second = p.kind == kWeightGradient ? p.y : p.w;
  const dims& result = p.kind == kForward ? p.y : p.kind == kInputGradient ? p.x : p.w;
  auto type = problem[1] ? ffi::DataType::BF16 : ffi::DataType::F32;
  bool types = a.element_type() == type && b.element_type() == type && out->element_type() == type;
  if (!types || !Fits(a, first) || !Fits(b, second) || !Fits(*out, result)) return Mismatch();
  return ToFfiError(
      Guarded([&] { Run(problem.begin(), a.untyped_data(), b.untyped_data(), out->untyped_data()); }));
}

ffi::Error ConvBias(ffi::Span<const int64_t> problem, ffi::AnyBuffer x, ffi::AnyBuffer w, ffi::AnyBuffer bias,
                    ffi::RemainingArgs rest, ffi::Result<ffi::AnyBuffer> out) {
  if (problem.size() != kProblemSize) return ffi::Error::InvalidArgument("convolution: not a problem");
  Problem p(problem.begin());
  auto type = problem[1] ? ffi::DataType::BF16 : ffi::DataType::F32;
  bool fits = p.kind == kForward && (p.epilogue & kBias) && x.element_type() == type && w.element_type() == type &&
              out->element_type() == type && bias.element_type() == ffi::DataType::F32 && Fits(x, p.x) &&
              Fits(w, p.w) && Fits(bias, {p.w[3]}) && Fits(*out, p.y) &&
              rest.size() == size_t(p.epilogue & kResidual ? 1 : 0);
  void* residual = nullptr;
  if (fits && rest.size() == 1) {
    auto buffer = rest.get<ffi::AnyBuffer>(0);
    fits = buffer.has_value() && buffer->element_type() == type && Fits(*buffer, p.y);
    if (fits) residual = buffer->untyped_data();
  }
  if (!fits) return Mismatch();
  return ToFfiError(Guarded([&] {
    Run(problem.begin(), x.untyped_data(), w.untyped_data(), out->untyped_data(), bias.untyped_data(), residual);
  }));
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(JaxResnetConv, Conv,
                              ffi::Ffi::Bind()
                                  .Attr<ffi::Span<const int64_t>>("problem")
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(JaxResnetConvBias, ConvBias,
                              ffi::Ffi::Bind()
                                  .Attr<ffi::Span<const int64_t>>("problem")
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .RemainingArgs()
                                  .Ret<ffi::AnyBuffer>());

// Call once, before anything else.
extern "C" void jax_resnet_configure(int thread_count, int single_caller) {
  std::lock_guard<std::mutex> lock(mutex);
  threads = thread_count;
  jax_resnet::one_caller = single_caller;
}

// Returns 1 if there is a fast kernel for a problem.
extern "C" int jax_resnet_is_supported(const int64_t* problem) {
  return Guarded([&] {
           std::lock_guard<std::mutex> lock(mutex);
           ThreadCount count(threads);
           Lookup(problem);
         }).empty();
}

// Both on bare pointers, for the self-test; they return 0 on success.
extern "C" int jax_resnet_run(const int64_t* problem, void* a, void* b, void* out) {
  return !Guarded([&] { Run(problem, a, b, out); }).empty();
}

extern "C" int jax_resnet_run_with_bias(const int64_t* problem, void* x, void* w, void* bias, void* residual,
                                        void* out) {
  return !Guarded([&] { Run(problem, x, w, out, bias, residual); }).empty();
}
