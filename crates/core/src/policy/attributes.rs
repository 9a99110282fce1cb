//! Attributes of the request that an audit event is about.

/// Attributes of one request, as the evaluator of kube-apiserver gets them.
///
/// All strings are bytes: Kubernetes compares them byte by byte, and a
/// percent-decoded path need not be UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// Authenticated user; `None` if authentication failed.
    pub user: Option<User<'a>>,
    /// Kubernetes verb, or the lower-cased HTTP method of a non-resource request.
    pub verb: &'a [u8],
    /// Target of the request.
    pub target: Target<'a>,
}

/// Authenticated user; never the impersonated one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User<'a> {
    /// User name.
    pub name: &'a [u8],
    /// Groups of the user.
    pub groups: &'a [&'a [u8]],
}

/// Target of a request: an API resource, or any other path of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A request for an API resource.
    Resource(Resource<'a>),
    /// Any other request.
    NonResource {
        /// Percent-decoded path without the query.
        path: &'a [u8],
    },
}

/// API resource of a request; an empty string means that a part is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resource<'a> {
    /// API group, empty for the core group.
    pub group: &'a [u8],
    /// Plural resource name, such as `pods`.
    pub resource: &'a [u8],
    /// Subresource, such as `log`.
    pub subresource: &'a [u8],
    /// Namespace, empty for cluster-scoped and all-namespaces requests.
    pub namespace: &'a [u8],
    /// Name of the object in the URL.
    pub name: &'a [u8],
}
