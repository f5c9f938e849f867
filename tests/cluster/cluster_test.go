package cluster_test

import (
	"testing"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/tests/cluster"
)

func TestStartLoginRestart(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	for range 2 {
		conn := c.Login(t, cluster.Admin, cluster.AdminPassword, cluster.AdminModel)
		if err := conn.Ping(cluster.Context(t)); err != nil {
			t.Fatal(err)
		}
		c.Restart(t)
	}
	conn := c.Dial(t, "", nil)
	_, err := conn.Login(cluster.Context(t), client.Credentials{Tag: cluster.Admin.Tag(), Password: client.NewSecret("wrong")})
	if err == nil || err.Error() != "invalid entity name or password" {
		t.Errorf("a wrong password got %v", err)
	}
}
