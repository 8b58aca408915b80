//! Which call a request is, and what it may carry.

use super::Fault;
use super::params::boundary;

const API: &str = "/bigbluebutton/api";
const ADMIN_API: &str = "/scalelite/api/";

/// A call, of the BigBlueButton API or of the administrators' JSON API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// The version call: the API's bare path.
    Index,
    /// Has anybody joined this meeting?
    IsMeetingRunning,
    /// Everything about one meeting.
    GetMeetingInfo,
    /// All meetings.
    GetMeetings,
    /// Creates a meeting.
    Create,
    /// Ends a meeting.
    End,
    /// Sends a browser to the meeting's server.
    Join,
    /// Adds a document to a meeting.
    InsertDocument,
    /// Lists recordings.
    GetRecordings,
    /// Changes recordings.
    UpdateRecordings,
    /// Publishes or unpublishes recordings.
    PublishRecordings,
    /// Deletes recordings.
    DeleteRecordings,
    /// Lists the text tracks of a recording.
    GetRecordingTextTracks,
    /// Adds a text track to a recording.
    PutRecordingTextTrack,
    /// A server hands in the statistics of a meeting.
    AnalyticsCallback,
    /// A server says that a recording is ready.
    RecordingReadyCallback,
    /// Writes into the public chat of a meeting.
    SendChatMessage,
    /// Another address to join for somebody who has joined.
    GetJoinUrl,
    /// What somebody thought of a meeting.
    Feedback,
    /// Has events sent somewhere.
    HooksCreate,
    /// Lists where events are sent.
    HooksList,
    /// Has events no longer sent there.
    HooksDestroy,
    /// Lists tenants.
    GetTenants,
    /// Shows a tenant.
    GetTenantInfo,
    /// Lists servers.
    GetServers,
    /// Shows a server.
    GetServerInfo,
    /// Adds a tenant.
    AddTenant,
    /// Changes a tenant.
    UpdateTenant,
    /// Removes a tenant.
    DeleteTenant,
    /// Adds a server.
    AddServer,
    /// Changes a server.
    UpdateServer,
    /// Removes a server.
    DeleteServer,
    /// Ends everything on a server and disables it.
    PanicServer,
}

/// Methods a call is routed for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Methods {
    Both,
    Get,
    Post,
}

impl Call {
    const API: [Self; 21] = [
        Self::IsMeetingRunning,
        Self::GetMeetingInfo,
        Self::GetMeetings,
        Self::Create,
        Self::End,
        Self::Join,
        Self::InsertDocument,
        Self::GetRecordings,
        Self::UpdateRecordings,
        Self::PublishRecordings,
        Self::DeleteRecordings,
        Self::GetRecordingTextTracks,
        Self::PutRecordingTextTrack,
        Self::AnalyticsCallback,
        Self::RecordingReadyCallback,
        Self::SendChatMessage,
        Self::GetJoinUrl,
        Self::Feedback,
        Self::HooksCreate,
        Self::HooksList,
        Self::HooksDestroy,
    ];

    const ADMIN: [Self; 11] = [
        Self::GetTenants,
        Self::GetTenantInfo,
        Self::GetServers,
        Self::GetServerInfo,
        Self::AddTenant,
        Self::UpdateTenant,
        Self::DeleteTenant,
        Self::AddServer,
        Self::UpdateServer,
        Self::DeleteServer,
        Self::PanicServer,
    ];

    /// The name as it stands in the path and in the checksum; empty for [`Index`](Self::Index).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Index => "",
            Self::IsMeetingRunning => "isMeetingRunning",
            Self::GetMeetingInfo => "getMeetingInfo",
            Self::GetMeetings => "getMeetings",
            Self::Create => "create",
            Self::End => "end",
            Self::Join => "join",
            Self::InsertDocument => "insertDocument",
            Self::GetRecordings => "getRecordings",
            Self::UpdateRecordings => "updateRecordings",
            Self::PublishRecordings => "publishRecordings",
            Self::DeleteRecordings => "deleteRecordings",
            Self::GetRecordingTextTracks => "getRecordingTextTracks",
            Self::PutRecordingTextTrack => "putRecordingTextTrack",
            Self::AnalyticsCallback => "analytics_callback",
            Self::RecordingReadyCallback => "recording_ready_callback",
            Self::SendChatMessage => "sendChatMessage",
            Self::GetJoinUrl => "getJoinUrl",
            Self::Feedback => "feedback",
            Self::HooksCreate => "hooks/create",
            Self::HooksList => "hooks/list",
            Self::HooksDestroy => "hooks/destroy",
            Self::GetTenants => "getTenants",
            Self::GetTenantInfo => "getTenantInfo",
            Self::GetServers => "getServers",
            Self::GetServerInfo => "getServerInfo",
            Self::AddTenant => "addTenant",
            Self::UpdateTenant => "updateTenant",
            Self::DeleteTenant => "deleteTenant",
            Self::AddServer => "addServer",
            Self::UpdateServer => "updateServer",
            Self::DeleteServer => "deleteServer",
            Self::PanicServer => "panicServer",
        }
    }

    /// Whether it belongs to the administrators' JSON API, which knows the balancer-wide secrets only.
    #[must_use]
    pub fn is_admin(self) -> bool {
        Self::ADMIN.contains(&self)
    }

    /// Whether it is about tenants, and so needs them to be switched on.
    #[must_use]
    pub const fn is_about_tenants(self) -> bool {
        matches!(
            self,
            Self::GetTenants | Self::GetTenantInfo | Self::AddTenant | Self::UpdateTenant | Self::DeleteTenant
        )
    }

    /// Whether the request must be signed. The callbacks of servers carry tokens instead.
    #[must_use]
    pub const fn needs_checksum(self) -> bool {
        !matches!(self, Self::Index | Self::AnalyticsCallback | Self::RecordingReadyCallback)
    }

    /// What its POST body may be.
    #[must_use]
    pub fn body_rule(self) -> BodyRule {
        match self {
            Self::Join
            | Self::PublishRecordings
            | Self::DeleteRecordings
            | Self::AnalyticsCallback
            | Self::Feedback => BodyRule::Any,
            Self::Create => BodyRule::FormOrXml,
            Self::InsertDocument => BodyRule::Xml,
            call if call.is_admin() => BodyRule::Json,
            _ => BodyRule::Form,
        }
    }

    const fn methods(self) -> Methods {
        match self {
            Self::Join
            | Self::PublishRecordings
            | Self::DeleteRecordings
            | Self::GetTenants
            | Self::GetTenantInfo
            | Self::GetServers
            | Self::GetServerInfo => Methods::Get,
            Self::InsertDocument
            | Self::PutRecordingTextTrack
            | Self::AnalyticsCallback
            | Self::RecordingReadyCallback
            | Self::Feedback
            | Self::AddTenant
            | Self::UpdateTenant
            | Self::DeleteTenant
            | Self::AddServer
            | Self::UpdateServer
            | Self::DeleteServer
            | Self::PanicServer => Methods::Post,
            _ => Methods::Both,
        }
    }

    fn allows(self, method: &str) -> bool {
        match self.methods() {
            Methods::Both => is_get(method) || method == "POST",
            Methods::Get => is_get(method),
            Methods::Post => method == "POST",
        }
    }
}

/// A HEAD is a GET whose body is not sent.
fn is_get(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route<'p> {
    /// A call of the BigBlueButton API, or (see [`Call::is_admin`]) of the JSON API.
    Call(Call),
    /// `/` and `/health_check`: the health page, in plain text. Always status 200, as Scalelite answers; the text tells
    /// whether the store could be written and read.
    Health,
    /// `/livez`: is this process alive? 200 while it answers at all.
    Live,
    /// `/readyz`: can this process do its work? 200, also while a shared store is out of reach: known meetings go on
    /// being answered, and a balancer in front that took out every process at once would end that; the text tells it.
    /// 503 when the store of this process alone fails, or the shared one answers something wrong.
    Ready,
    /// The entry to the playback of a recording.
    Playback {
        /// The recording.
        record_id: &'p str,
        /// The format of playback.
        format: &'p str,
    },
    /// The dial-in plan of telephone servers.
    Dialplan,
    /// Nothing of ours: answered with [`Fault::UnsupportedRequest`].
    Unsupported,
}

/// Finds the route of a path (without query) and method. Case matters in both.
///
/// Playback files are matched by [`static_path`], since their formats are configured.
#[must_use]
pub fn route<'p>(path: &'p str, method: &str) -> Route<'p> {
    let found = match path {
        "/" => return Route::Health,
        "/health_check" if is_get(method) => return Route::Health,
        "/livez" if is_get(method) => return Route::Live,
        "/readyz" if is_get(method) => return Route::Ready,
        "/fsapi" if method == "POST" => return Route::Dialplan,
        _ => path,
    };
    if let Some(rest) = found.strip_prefix(API) {
        let call = match rest {
            "" | "/" => Some(Call::Index),
            _ => rest.strip_prefix('/').and_then(|name| Call::API.into_iter().find(|call| call.name() == name)),
        };
        return call.filter(|call| call.allows(method)).map_or(Route::Unsupported, Route::Call);
    }
    if let Some(name) = found.strip_prefix(ADMIN_API) {
        let call = Call::ADMIN.into_iter().find(|call| call.name() == name && call.allows(method));
        return call.map_or(Route::Unsupported, Route::Call);
    }
    match found.strip_prefix("/recording/").and_then(|rest| rest.split_once('/')) {
        Some((record_id, format))
            if is_get(method) && !record_id.is_empty() && !format.is_empty() && !format.contains('/') =>
        {
            Route::Playback { record_id, format }
        }
        _ => Route::Unsupported,
    }
}

/// A file of a recording's playback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StaticPath<'p> {
    /// The format of playback, one of the configured ones.
    pub format: &'p str,
    /// The recording.
    pub record_id: &'p str,
    /// What follows, without a leading slash; may be empty.
    pub resource: &'p str,
}

/// Reads `/FORMAT/RECORD_ID[/RESOURCE]` for one of these formats.
#[must_use]
pub fn static_path<'p, S: AsRef<str>>(path: &'p str, formats: &[S]) -> Option<StaticPath<'p>> {
    let (format, rest) = path.strip_prefix('/')?.split_once('/')?;
    let (record_id, resource) = rest.split_once('/').unwrap_or((rest, ""));
    let known = formats.iter().any(|known| known.as_ref() == format);
    (known && !record_id.is_empty()).then_some(StaticPath { format, record_id, resource })
}

/// What the body of a POST may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyRule {
    /// Not checked.
    Any,
    /// Form data, url-encoded or multipart.
    Form,
    /// Form data or XML.
    FormOrXml,
    /// XML only.
    Xml,
    /// JSON only, even if empty.
    Json,
}

/// What the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyKind {
    /// No body that counts.
    None,
    /// An url-encoded form.
    Form,
    /// A multipart form.
    Multipart,
    /// XML, handed on as it is.
    Xml,
    /// JSON.
    Json,
}

impl BodyKind {
    /// Reads the media type, whatever its case and parameters. A multipart form needs its boundary.
    fn of(content_type: &str) -> Option<Self> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        let known = [
            ("application/x-www-form-urlencoded", Self::Form),
            ("multipart/form-data", Self::Multipart),
            ("application/xml", Self::Xml),
            ("text/xml", Self::Xml),
            ("application/json", Self::Json),
        ];
        let kind = known.into_iter().find(|(name, _)| media.eq_ignore_ascii_case(name))?.1;
        (kind != Self::Multipart || boundary(content_type).is_some()).then_some(kind)
    }
}

/// Says what the body of a request is. Comes before the checksum. The body of anything but a POST does not count.
///
/// # Errors
/// [`Fault::UnsupportedContentType`] if the call does not take such a body.
pub fn check_content_type(
    rule: BodyRule,
    method: &str,
    content_type: Option<&str>,
    body_is_empty: bool,
) -> Result<BodyKind, Fault> {
    if method != "POST" || (body_is_empty && rule != BodyRule::Json) {
        return Ok(BodyKind::None);
    }
    let kind = content_type.and_then(BodyKind::of);
    let form = matches!(kind, Some(BodyKind::Form | BodyKind::Multipart));
    let fits = match rule {
        BodyRule::Any => return Ok(kind.unwrap_or(BodyKind::None)),
        BodyRule::Form => form,
        BodyRule::FormOrXml => form || kind == Some(BodyKind::Xml),
        BodyRule::Xml => kind == Some(BodyKind::Xml),
        BodyRule::Json => kind == Some(BodyKind::Json),
    };
    kind.filter(|_| fits).ok_or(Fault::UnsupportedContentType)
}

#[cfg(test)]
mod tests;
