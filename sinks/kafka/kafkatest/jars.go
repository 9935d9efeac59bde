package kafkatest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// Version is that of Apache Kafka.
const Version = "4.1.1"

const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>io.cycle-bridge</groupId><artifactId>kafkatest</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>` + Version + `</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>` + Version + `</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
`

// MissingError says what this machine lacks to run Kafka.
type MissingError struct {
	What string
	Err  error
}

func (e *MissingError) Error() string { return e.What + ": " + e.Err.Error() }
func (e *MissingError) Unwrap() error { return e.Err }

// jars returns the directory with Kafka's jars, fetched once for all test
// processes of this user.
func jars() (string, error) {
	if _, err := exec.LookPath("java"); err != nil {
		return "", &MissingError{"a JDK is needed", err}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", &MissingError{"a cache directory is needed", err}
	}
	dir := filepath.Join(cache, "cycle-bridge-kafka", Version)
	libs := filepath.Join(dir, "libs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", &MissingError{"a cache directory is needed", err}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	lock := flock.New(filepath.Join(dir, "lock"))
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Path(), err)
	}
	defer lock.Unlock()
	if _, err := os.Stat(libs); err == nil {
		return libs, nil
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return "", &MissingError{"Maven is needed to get Kafka the first time", err}
	}
	// Into a directory of its own first, so that libs is whole or not there.
	tmp, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := os.WriteFile(filepath.Join(tmp, "pom.xml"), []byte(pom), 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &MissingError{"Maven did not get Kafka's jars", fmt.Errorf("%w: %s", err, out[max(0, len(out)-500):])}
	}
	return libs, os.Rename(filepath.Join(tmp, "libs"), libs)
}
