// The kernels as a host library, and as a program that runs a list of launches from a file.
//
// KERNEL_SOURCE is the .cu file. The program is for builds that may die: under AddressSanitizer, or
// of kernels broken on purpose. tests/emulation/emulator.py writes its files.

#include "cuda_fibers.h"

#include KERNEL_SOURCE

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

extern "C" int emulate(const char* kernel, unsigned grid_x, unsigned grid_y, unsigned threads,
                       int order, unsigned seed, void** arguments) {
    const std::string name = kernel;
    const Dimensions grid{grid_x, grid_y, 1};
    const auto how = static_cast<emulation::Order>(order);
    if (name == "equalisation_luts") {
        return emulation::launch(equalisation_luts, grid, threads, how, seed, arguments);
    }
    if (name == "blend") return emulation::launch(blend, grid, threads, how, seed, arguments);
    return emulation::UNKNOWN_KERNEL;
}

#ifdef AS_PROGRAM
namespace {

template <class Value>
Value get(std::istream& from) {
    Value value;
    from.read(reinterpret_cast<char*>(&value), sizeof value);
    return value;
}

}  // namespace

// buffers: count, then size and bytes of each. launches: count, then for each: name (32 bytes),
// grid x, grid y, threads, order, seed, number of arguments, and for each argument whether it is a
// buffer's number and 8 bytes of value. All counts are of 64 bits. Writes the buffers back.
int main(int, char** paths) {
    std::ifstream in(paths[1], std::ios::binary);
    std::vector<std::pair<std::unique_ptr<char[]>, std::uint64_t>> buffers;
    for (auto left = get<std::uint64_t>(in); left > 0; --left) {
        const auto size = get<std::uint64_t>(in);
        // Exactly as long as it is used: one byte beyond is an error that AddressSanitizer sees.
        buffers.emplace_back(std::unique_ptr<char[]>(new char[size]), size);
        in.read(buffers.back().first.get(), static_cast<std::streamsize>(size));
    }
    for (auto left = get<std::uint64_t>(in); left > 0; --left) {
        char name[32];
        in.read(name, sizeof name);
        std::uint64_t how[6];
        for (auto& each : how) each = get<std::uint64_t>(in);
        std::vector<std::uint64_t> values(how[5]);
        std::vector<void*> arguments(how[5]);
        for (std::size_t i = 0; i < how[5]; ++i) {
            const bool buffer = get<std::uint64_t>(in);
            values[i] = get<std::uint64_t>(in);
            if (buffer) values[i] = reinterpret_cast<std::uint64_t>(buffers[values[i]].first.get());
            arguments[i] = &values[i];
        }
        const int failure = emulate(name, how[0], how[1], how[2], how[3], how[4], arguments.data());
        if (failure) {
            std::fprintf(stderr, "%s: failure %d\n", name, failure);
            return failure;
        }
    }
    std::ofstream out(paths[2], std::ios::binary);
    for (const auto& [data, size] : buffers) out.write(data.get(), static_cast<std::streamsize>(size));
}
#endif
