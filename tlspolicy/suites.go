package tlspolicy

import (
	"crypto/tls"
	_ "unsafe" // for linkname
)

// Go chooses TLS 1.3 suites by two lists of its own and ignores
// Config.CipherSuites there; left alone it negotiates AES-128. The lists are
// open to linkname ("do not remove or change the type signature", says their
// comment), so this file replaces them. SelfTest refuses to run if a release
// of Go no longer listens. In FIPS 140 mode Go reads a third list that is
// closed to us: SelfTest fails there too.

//go:linkname defaultCipherSuitesTLS13 crypto/tls.defaultCipherSuitesTLS13
var defaultCipherSuitesTLS13 []uint16

//go:linkname defaultCipherSuitesTLS13NoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var defaultCipherSuitesTLS13NoAES []uint16

// forced is set while the package is initialised: at that moment no other
// goroutine can be in a handshake, which a constructor could not promise.
// The change holds for the whole process, libraries included.
var forced = force()

func force() bool {
	defaultCipherSuitesTLS13 = []uint16{tls.TLS_AES_256_GCM_SHA384}
	defaultCipherSuitesTLS13NoAES = []uint16{tls.TLS_AES_256_GCM_SHA384}
	return true
}

// suites12 returns what TLS 1.2 may use: forward secrecy and AES-256-GCM.
func suites12() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	}
}
