// Package clients runs published clients, unmodified, against a controller.
// It owns the proof that they work: the JavaScript client of the dashboard
// drives a whole life of an application (driver.mjs only passes calls on), and
// raw requests check what the Python client and the Terraform provider insist
// on. It refuses to patch or to imitate a client: what is pinned in
// package-lock.json is what runs.
package clients
