// What an HTTP server of ours asks of a request before it answers: that it came for this machine, and that it knows the token. Pure apart
// from asking for the machine's name; any thread.
#pragma once
#include <string>

namespace candor {

// Compares every byte, so that the time taken says nothing about where two texts differ.
bool SameSecret(const std::string& a, const std::string& b);
// Is the Host header an address, localhost, the machine's own name or `configured`? A page elsewhere whose name was pointed at this address
// (DNS rebinding) sends its own name here.
bool IsOurHost(const std::string& host_header, const std::string& configured);
// Does this host to listen on (an address, or localhost) lie on the loopback?
bool IsLoopback(const std::string& host);

}  // namespace candor
