-- A brewery for a demonstration: one port on the loopback, everything in one folder.
local folder = ENV_PICKER_FOLDER

run_as_root = true
pidfile = folder .. "/prosody.pid"
data_path = folder
certificates = folder
log = { { levels = { min = "info" }, to = "console" } }

interfaces = { "127.0.0.1" }
local_interfaces = { "127.0.0.1" }
c2s_interfaces = { "127.0.0.1" }
c2s_ports = { tonumber(ENV_PICKER_PORT) }
c2s_direct_tls_ports = {}
s2s_ports = {}
http_ports = {}
https_ports = {}
component_ports = {}

modules_enabled = { "saslauth", "ping", "disco" }
modules_disabled = { "s2s", "offline", "tls" }
c2s_require_encryption = false
authentication = "internal_plain"
storage = "internal"

VirtualHost "auth.meet.demo"

Component "internal.auth.meet.demo" "muc"
  muc_room_locking = false
  muc_room_default_public = false
  muc_room_default_public_jids = true
  muc_room_default_history_length = 0
  muc_tombstones = false
