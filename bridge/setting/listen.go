package setting

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// CheckListen reports what is wrong with the address of a listener: it must
// be host:port with a port from 0 to 65535. An empty address is no mistake:
// it closes the listener.
func CheckListen(addr string) error {
	if addr == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not an address to listen on: want host:port, for example 127.0.0.1:8080", addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q has no valid port: want a number from 0 to 65535", addr)
	}
	if strings.ContainsAny(host, " /@\t\r\n") {
		return fmt.Errorf("%q is not an address to listen on: want host:port, for example 127.0.0.1:8080", addr)
	}
	return nil
}

// ListensOnLoopback reports whether only this machine can reach a listener at
// addr ("host:port"). An empty host means every interface, and any name but
// localhost counts as reachable from elsewhere: what it resolves to can change.
func ListensOnLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && IsLoopbackHost(host)
}

// IsLoopbackHost reports whether host (without a port) is a loopback address
// or a name that means one: localhost and everything under it (RFC 6761).
func IsLoopbackHost(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}
