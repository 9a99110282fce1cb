//! What every case of a detection may ask of a request, as a set of bits: found once for
//! a request, and compared with all cases at the cost of one comparison each.

use super::lexicon::{Lexicon, flags};

flags! {
    /// Facts about a request and who made it. Who impersonates is none of the components:
    /// else a proxy would excuse all who go through it.
    Facts
        OK = "a code from 100 to 399";
        UNAUTHENTICATED = "code 401";
        FORBIDDEN = "code 403";
        ANONYMOUS = "anonymous users";
        IMPERSONATING = "somebody who impersonates";
        CREATED = "an object created, by `create` or by server-side apply";
        CLUSTER_WIDE = "neither a namespace nor a name";
        NAMELESS = "no user name";
        HUMAN = "a person, or somebody who impersonates";
        LOOPBACK = "the API server itself";
        KCM = "the controller manager";
        NODE = "kubelets";
        NODE_BY_NAME = "kubelets that name an object";
        SERVICE_ACCOUNT = "service accounts";
        SWEEPER = "the controllers that clean up";
        QUOTA = "resourcequota-controller";
        AGGREGATOR = "clusterrole-aggregation-controller";
        CERTIFIER = "certificate-controller";
        WORKLOADS = "the controllers of workloads";
        DRY_RUN = "a dry run";
}

impl Facts {
    /// Those that are known of every event: the first five.
    pub(super) const KNOWN: Facts = Facts::OK.and(Facts::RARE);

    /// Those about who made the request.
    pub(super) const ACTORS: Facts = Facts::ANONYMOUS
        .and(Facts::LOOPBACK)
        .and(Facts::KCM)
        .and(Facts::NODE)
        .and(Facts::NODE_BY_NAME)
        .and(Facts::SERVICE_ACCOUNT)
        .and(Facts::SWEEPER)
        .and(Facts::QUOTA)
        .and(Facts::AGGREGATOR)
        .and(Facts::CERTIFIER)
        .and(Facts::WORKLOADS);

    /// Those that an event has to have to be looked at by the few detections that are
    /// about all kinds of resources.
    pub(super) const RARE: Facts = Facts::UNAUTHENTICATED
        .and(Facts::FORBIDDEN)
        .and(Facts::ANONYMOUS)
        .and(Facts::IMPERSONATING);

    /// Returns these facts if something holds, else none.
    pub(super) fn when(self, holds: bool) -> Facts {
        match holds {
            true => self,
            false => Facts::NONE,
        }
    }

    /// Returns the fact that a service account of `kube-system` is that of a controller
    /// which detections leave out.
    pub(super) fn of_controller(account: &[u8]) -> Facts {
        const CONTROLLERS: &Lexicon<12> = &Lexicon::new(
            "|namespace-controller|generic-garbage-collector|resourcequota-controller\
             |clusterrole-aggregation-controller|certificate-controller|deployment-controller\
             |replicaset-controller|replication-controller|daemon-set-controller\
             |statefulset-controller|job-controller|cronjob-controller",
        );
        match CONTROLLERS.find(account) {
            0 | 1 => Facts::SWEEPER,
            2 => Facts::QUOTA,
            3 => Facts::AGGREGATOR,
            4 => Facts::CERTIFIER,
            5..12 => Facts::WORKLOADS,
            _ => Facts::NONE,
        }
    }
}
