// A Splunk HTTP Event Collector for tests: OpenTelemetry's receiver, which appends each event as a line of JSON to a
// file before it answers. Prints `listening` once it takes requests; runs until it is killed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/ackextension"
	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/splunkhecreceiver"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensionauth"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
)

// Extensions that the receiver finds by name.
type extensions map[component.ID]component.Component

func (e extensions) GetExtensions() map[component.ID]component.Component { return e }

// Lets one token in.
type token struct {
	component.StartFunc
	component.ShutdownFunc
	extensionauth.Server
}

func tokenServer(wanted string) token {
	check := func(ctx context.Context, sources map[string][]string) (context.Context, error) {
		for name, values := range sources {
			if strings.EqualFold(name, "Authorization") && len(values) == 1 && values[0] == "Splunk "+wanted {
				return ctx, nil
			}
		}
		return ctx, errors.New("another token")
	}
	return token{Server: extensionauth.ServerAuthenticateFunc(check)}
}

// What a test reads of an event.
type line struct {
	TimeNs int64          `json:"time_ns"`
	Meta   map[string]any `json:"meta"`
	Fields map[string]any `json:"fields"`
	Event  any            `json:"event"`
}

func appendTo(file *os.File) consumer.ConsumeLogsFunc {
	var lock sync.Mutex
	return func(_ context.Context, logs plog.Logs) error {
		var lines strings.Builder
		encoder := json.NewEncoder(&lines)
		encoder.SetEscapeHTML(false)
		for _, resource := range logs.ResourceLogs().All() {
			meta := resource.Resource().Attributes().AsRaw()
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					one := line{int64(record.Timestamp()), meta, record.Attributes().AsRaw(), record.Body().AsRaw()}
					if err := encoder.Encode(one); err != nil {
						return err
					}
				}
			}
		}
		lock.Lock()
		defer lock.Unlock()
		_, err := file.WriteString(lines.String())
		return err
	}
}

func main() {
	listen := flag.String("listen", "", "address and port")
	path := flag.String("file", "", "file to append to")
	wanted := flag.String("token", "", "the only token that is let in")
	certificate := flag.String("cert", "", "file of the certificate; none for plain HTTP")
	key := flag.String("key", "", "file of its key")
	ca := flag.String("client-ca", "", "file of the authority of clients' certificates; none to ask for none")
	ack := flag.Bool("ack", false, "whether to offer indexer acknowledgement")
	flag.Parse()
	if err := run(*listen, *path, *wanted, *certificate, *key, *ca, *ack); err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening")
	select {}
}

func run(listen, path, wanted, certificate, key, ca string, ack bool) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	ctx := context.Background()
	telemetry := component.TelemetrySettings{
		Logger:         zap.NewNop(),
		TracerProvider: tracenoop.NewTracerProvider(),
		MeterProvider:  metricnoop.NewMeterProvider(),
	}
	factory := splunkhecreceiver.NewFactory()
	config := factory.CreateDefaultConfig().(*splunkhecreceiver.Config)
	config.Endpoint = listen
	auth := component.MustNewID("token")
	host := extensions{auth: tokenServer(wanted)}
	config.Auth = configoptional.Some(confighttp.AuthConfig{Config: configauth.Config{AuthenticatorID: auth}})
	if certificate != "" {
		files := configtls.Config{CertFile: certificate, KeyFile: key}
		config.TLS = configoptional.Some(configtls.ServerConfig{Config: files, ClientCAFile: ca})
	}
	if ack {
		acks := ackextension.NewFactory()
		id := component.NewID(acks.Type())
		settings := extension.Settings{ID: id, TelemetrySettings: telemetry}
		made, err := acks.Create(ctx, settings, acks.CreateDefaultConfig())
		if err != nil {
			return err
		}
		if err := made.Start(ctx, host); err != nil {
			return err
		}
		host[id] = made
		config.Ack.Extension = &id
	}
	logs, err := consumer.NewLogs(appendTo(file))
	if err != nil {
		return err
	}
	settings := receiver.Settings{ID: component.NewID(factory.Type()), TelemetrySettings: telemetry}
	made, err := factory.CreateLogs(ctx, settings, config, logs)
	if err != nil {
		return err
	}
	return made.Start(ctx, host)
}
