// Shared by all operations of the extension: they run one at a time, on `threads` threads, and throw nothing.

#ifndef JAX_RESNET_RUNTIME_H_
#define JAX_RESNET_RUNTIME_H_

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

// Of the OpenMP runtime that oneDNN is linked with.
extern "C" void omp_set_num_threads(int);
extern "C" int omp_get_max_threads(void);

namespace jax_resnet {

inline std::mutex mutex;  // Held while an operation runs: each uses all threads.
inline int threads = 1;
inline bool one_caller = false;

struct ThreadCount {
  explicit ThreadCount(int count) : before(omp_get_max_threads()) { omp_set_num_threads(count); }
  ~ThreadCount() { omp_set_num_threads(before); }
  int before;
};

// OpenMP keeps a team of threads for every thread that calls it, and XLA calls from any thread of its pool:
// n processors would make n * n threads. Where n is large, one thread makes the calls of all.
class Caller {
 public:
  void operator()(const std::function<void()>& job) {
    std::lock_guard<std::mutex> one_at_a_time(callers_);
    std::unique_lock<std::mutex> lock(mutex_);
    if (!started_) std::thread([this] { Loop(); }).detach();
    started_ = true;
    job_ = &job;
    changed_.notify_all();
    changed_.wait(lock, [&] { return job_ == nullptr; });
  }

 private:
  void Loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return job_ != nullptr; });
      (*job_)();
      job_ = nullptr;
      changed_.notify_all();
    }
  }

  std::mutex callers_, mutex_;
  std::condition_variable changed_;
  const std::function<void()>* job_ = nullptr;
  bool started_ = false;
};

// Runs a job and returns its error message, empty if there was none: no exception may leave the library.
inline std::string Guarded(const std::function<void()>& job) {
  std::string failure;
  auto guarded = [&] {
    try {
      job();
    } catch (const std::exception& error) {
      failure = error.what();
      if (failure.empty()) failure = "error without a message";
    } catch (...) {
      failure = "unknown error";
    }
  };
  static auto* caller = new Caller;
  if (one_caller) {
    (*caller)(guarded);
  } else {
    guarded();
  }
  return failure;
}

}  // namespace jax_resnet

#endif  // JAX_RESNET_RUNTIME_H_
